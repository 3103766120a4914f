package proctest

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// RunMounting runs this test binary in a role of Main, in user and mount namespaces of its own, so that the role may mount
// file systems. It waits for the process and fails the test if the role fails. It skips the test if the system does not
// allow this user to create namespaces.
func RunMounting(t testing.TB, role string, args ...string) {
	t.Helper()
	cmd := RoleCommand(t, role, args...)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		t.Skip("this system does not allow this user to create namespaces, so the test cannot mount a file system")
	}
	if err != nil {
		t.Fatalf("the role %s failed: %v\n%s", role, err, out)
	}
}

// MountSmall mounts a tmpfs of the given size, such as 48m, at dir. It must be called in a role that RunMounting runs.
func MountSmall(t testing.TB, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
}

// FillDisk appends zeros to a file until its file system is completely full.
func FillDisk(t testing.TB, filler *os.File) {
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
