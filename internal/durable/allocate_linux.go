package durable

import (
	"errors"
	"os"
	"syscall"
)

// allocate extends a file from offset from by n bytes, and allocates their disk space.
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
