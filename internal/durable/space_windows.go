package durable

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// FreeSpace returns the number of bytes that this user may still write to the file system of a directory.
func FreeSpace(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	var free uint64
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(path, &free, nil, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("durable: free space of %s: %w", dir, err)
	}
	return int64(free), nil
}

// IsFull reports whether an error is caused by a full file system or disk quota.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
