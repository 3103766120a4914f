package proctest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func(testing.TB){
		"parent": func(t testing.TB) { // starts a program and waits to be killed
			child := proctest.Command(t, "sleep", "1000")
			require.NoError(t, child.Start())
			fmt.Println(child.Process.Pid)
			select {}
		},
		"returns": func(t testing.TB) {
			t.Cleanup(func() { fmt.Println("cleaned up", os.Args[1:]) })
			fmt.Println(t.Name())
		},
		"fails": func(t testing.TB) {
			require.Equal(t, 1, 2, "expected failure")
			fmt.Println("continued")
		},
	})
}

// runs reports whether a process exists and is not a zombie.
func runs(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

func TestProgramsEndWhenParentIsKilled(t *testing.T) {
	t.Parallel()
	parent := proctest.RoleCommand(t, "parent")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	require.True(t, runs(child))
	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return !runs(child) }, 5*time.Minute, time.Millisecond)
}

func TestProgramsEndWithTheirTest(t *testing.T) {
	t.Parallel()
	var cmd *exec.Cmd
	t.Run("starts", func(t *testing.T) {
		cmd = proctest.Command(t, "sleep", "1000")
		require.NoError(t, cmd.Start())
		_ = proctest.Command(t, "sleep", "1000") // never started
	})
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func TestRolesReportSuccessAndFailure(t *testing.T) {
	t.Parallel()
	out, err := proctest.RoleCommand(t, "returns", "with", "arguments").Output()
	require.NoError(t, err)
	require.Equal(t, "returns\ncleaned up [with arguments]\n", string(out))
	for _, role := range []string{"fails", "unknown"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			cmd := proctest.RoleCommand(t, role)
			out, err := cmd.CombinedOutput()
			require.ErrorContains(t, err, "exit status 3")
			require.NotContains(t, string(out), "continued")
			require.Contains(t, string(out), map[string]string{"fails": "expected failure", "unknown": `no role "unknown"`}[role])
		})
	}
}
