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
			_ = cmd.Process.Kill() // fails if the program has ended
		}
	})
	return cmd
}

// Bind makes the kernel kill a command when this process ends. Use it for a command that serves several tests. It must be
// called before the command starts, replaces its SysProcAttr, and has an effect only on Linux.
func Bind(cmd *exec.Cmd) { bind(cmd) }
