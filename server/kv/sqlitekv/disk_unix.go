//go:build unix

package sqlitekv

import (
	"os"
	"syscall"
)

// lockFile locks a file until it is closed, or returns ErrInUse.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, ErrInUse
	}
	return f, nil
}

// freeSpace returns the bytes that this user may still write to the directory's file system.
func freeSpace(dir string) (int64, error) {
	var info syscall.Statfs_t
	if err := syscall.Statfs(dir, &info); err != nil {
		return 0, err
	}
	return int64(info.Bavail) * int64(info.Bsize), nil //nolint:unconvert // the types differ between systems
}
