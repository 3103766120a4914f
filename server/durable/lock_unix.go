//go:build !windows

package durable

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits for the exclusive lock of an open file, which ends with the file or the process.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
