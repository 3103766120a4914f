// Package proctest starts programs for tests. No program outlives the test binary that started it, however that
// ends: the kernel kills the program with its parent, and a test kills its own programs when it ends.
//
// A test binary can also run itself again in another role, for example as the process that a test kills: see Main.
package proctest

import (
	"os/exec"
	"testing"
)

// Command is exec.Command for a program that ends with the test. The caller starts the command and waits for it.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	Bind(cmd)
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // an error if it has ended
		}
	})
	return cmd
}

// Bind makes a command that is not started yet end with this process, for example one that serves several tests.
// It replaces the command's SysProcAttr. It has no effect on systems other than Linux.
func Bind(cmd *exec.Cmd) { bind(cmd) }
