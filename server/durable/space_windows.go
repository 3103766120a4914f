package durable

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// FreeSpace returns the bytes that this user may still write to a directory's file system.
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
