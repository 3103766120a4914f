package durable

import (
	"errors"
	"os"
	"syscall"
)

// allocate lengthens a file by n bytes of space that no other file can take.
func allocate(f *os.File, from, n int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, from, n)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return writeZeros(f, from, n)
		default:
			return err
		}
	}
}
