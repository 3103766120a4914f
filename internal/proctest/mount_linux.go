package proctest

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// RunMounting runs this test binary in a role of Main that may mount file systems: it has a namespace of its own. A role
// that fails fails the test. RunMounting skips the test if the system gives no namespaces to this user.
func RunMounting(t testing.TB, role string, args ...string) {
	t.Helper()
	cmd := Again(t, role, args...)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		t.Skip("this system gives no namespaces to this user, so no file system can be mounted")
	}
	if err != nil {
		t.Fatalf("the role %s failed: %v\n%s", role, err, out)
	}
}

// MountSmall mounts a file system of a size, such as 48m, in a role that RunMounting runs.
func MountSmall(t testing.TB, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
}

// TakeSpace lengthens a file until its file system is full to the last byte.
func TakeSpace(t testing.TB, filler *os.File) {
	t.Helper()
	var err error
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = filler.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
