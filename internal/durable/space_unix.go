//go:build unix

package durable

import (
	"errors"
	"fmt"
	"syscall"
)

// FreeSpace returns the number of bytes that this user may still write to the file system of a directory.
func FreeSpace(dir string) (int64, error) {
	var info syscall.Statfs_t
	if err := syscall.Statfs(dir, &info); err != nil {
		return 0, fmt.Errorf("durable: free space of %s: %w", dir, err)
	}
	return int64(info.Bavail) * int64(info.Bsize), nil //nolint:unconvert // the types differ between systems
}

// IsFull reports whether an error is caused by a full file system or disk quota.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
