package proctest

import (
	"os/exec"
	"syscall"
)

// bind asks for the parent-death signal of prctl(2). The signal follows the thread that starts the command; Go ends a
// thread only if a goroutine returns while it is locked to it, and no test does that.
func bind(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
