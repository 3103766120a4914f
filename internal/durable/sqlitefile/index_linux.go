package sqlitefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sys/unix"
)

const (
	sharedMemory = "/dev/shm"
	minMemory    = 8 << 20 // bytes of memory that must be free; an index needs 2 bytes for each KiB of the log
	indexSize    = 32 << 10
	indexLock    = 128 // the byte of an index that SQLite locks while a process uses it (UNIX_SHM_DMS in os_unix.c)
)

// memoryDir creates a directory in memory for an index, for its owner only. The name depends on the database's
// directory, so the new directory replaces one that a killed process left.
func memoryDir(database string) (dir string, err error) {
	var memory unix.Statfs_t
	if err := unix.Statfs(sharedMemory, &memory); err != nil {
		return "", fmt.Errorf("%s: %w", sharedMemory, err)
	}
	if memory.Type != unix.TMPFS_MAGIC {
		return "", errors.New(sharedMemory + " is not in memory")
	}
	if memory.Blocks > 0 && memory.Bavail*uint64(memory.Bsize) < minMemory { // a file system without a limit counts no blocks
		return "", errors.New(sharedMemory + " is full")
	}
	var info unix.Stat_t
	if err := unix.Stat(filepath.Dir(database), &info); err != nil {
		return "", err
	}
	dir = filepath.Join(sharedMemory, fmt.Sprintf("coffer-%d-%d", info.Dev, info.Ino))
	if err = os.RemoveAll(dir); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) { // the directory belongs to another user
		dir, err = os.MkdirTemp(sharedMemory, "coffer-")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, indexName), make([]byte, indexSize), 0o600)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// blockIndex prevents other programs from opening a database while this process uses it, and after a kill: it creates a
// directory at the path of the index, which SQLite cannot open. Otherwise another program would move the log into the
// database without adding checksums to the pages. It returns sqlite3.BUSY if another program uses the database.
func blockIndex(path string) error {
	err := os.Mkdir(path, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: indexLock, Len: 1}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = sqlite3.BUSY
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	return err
}
