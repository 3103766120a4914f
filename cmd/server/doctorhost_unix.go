//go:build unix

package main

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that this user may still write to a directory's file system.
func freeSpace(dir string) (int64, error) {
	var info unix.Statfs_t
	if err := unix.Statfs(dir, &info); err != nil {
		return 0, err
	}
	return int64(info.Bavail) * int64(info.Bsize), nil //nolint:unconvert // the types differ between systems
}

// openFiles returns how many files this process may open at once.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return uint64(limit.Max), err //nolint:unconvert // the types differ between systems; Go raises the soft limit to the hard one
}
