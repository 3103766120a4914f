package durable

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile waits for the exclusive lock of an open file, which ends with the file or the process.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}
