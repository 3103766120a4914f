package sqlitefile

import (
	"errors"
	"fmt"
	"os"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sys/unix"
)

const (
	sharedMemory = "/dev/shm"
	indexRoom    = 8 << 20 // bytes that must be free; an index has 2 bytes for each KiB of the log
	indexLock    = 128     // the byte of an index that SQLite locks while a process uses it: UNIX_SHM_DMS in os_unix.c
)

// memoryDir makes a directory in memory for its owner only.
func memoryDir() (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(sharedMemory, &s); err != nil {
		return "", fmt.Errorf("%s: %w", sharedMemory, err)
	}
	if s.Type != unix.TMPFS_MAGIC {
		return "", errors.New(sharedMemory + " is not in memory")
	}
	if s.Blocks > 0 && s.Bavail*uint64(s.Bsize) < indexRoom { // without a bound, no blocks are counted
		return "", errors.New(sharedMemory + " is full")
	}
	return os.MkdirTemp(sharedMemory, "coffer-")
}

// lockIndex locks the index that other programs would use.
func lockIndex(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: indexLock, Len: 1}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) || err == nil && !isAt(path, f) {
		err = sqlite3.BUSY
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		lock.Type = unix.F_UNLCK
		_ = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) // a process that is forked just now has the file too
		_ = f.Close()
	}, nil
}

// isAt reports whether a file has a path. Another program may have removed it, as the last that used the database.
func isAt(path string, f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(info, now)
}
