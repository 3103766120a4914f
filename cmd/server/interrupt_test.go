package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
)

func TestOneSignalEndsACommandThatWaitsForConfirmation(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	p := serve(t, data, environ...)
	p.put(p.token, "patient", record)
	cmd := program(t, environ, "keys", "shred", "--data", data, "--tenant", "default")
	answer, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer answer.Close()
	question, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := bufio.NewReader(question)
	_, err = said.ReadString(':')
	require.NoError(t, err)
	begun := time.Now()
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(said)
	require.NoError(t, err)
	require.Less(t, time.Since(begun), patience)
	require.Contains(t, string(rest), "nothing was changed: interrupted")
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	p.requireValue(p.token, "patient", record)
}

func TestOneSignalEndsACommandThatWaitsForALock(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("who waits is seen on Linux")
	}
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	tokenFor(t, environ, data, "clinic")
	unlock, err := durable.Lock(filepath.Join(data, "audit", "lock"))
	require.NoError(t, err)
	defer unlock()
	cmd := program(t, environ, "token", "create", "--data", data)
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	waits := regexp.MustCompile(fmt.Sprintf(`-> FLOCK .* %d `, cmd.Process.Pid))
	soon(t, func() bool {
		locks, err := os.ReadFile("/proc/locks")
		return err == nil && waits.Match(locks)
	})
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	require.Error(t, cmd.Wait())
	require.True(t, late.Stop(), "it ran on")
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Equal(t, 1, strings.Count(said.String(), "interrupted"), said.String())
}
