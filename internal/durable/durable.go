// Package durable writes files so that a kill or a power cut at any point leaves the former or the new content, never a
// mixture.
//
// When a function returns nil, the change is on the disk. Only the owner can read the files. Processes that change a
// file while they hold its lock lose no change of another process.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

const temporaryPrefix = ".writing-"

// Replace replaces the content of a file, or creates the file. Its directory must exist.
func Replace(path string, content []byte) error {
	return writeFile(path, contentWriter(content), os.Rename)
}

// Create creates a file. If the file exists, it does not change it and returns an error that wraps fs.ErrExist.
func Create(path string, content []byte) error {
	return writeFile(path, contentWriter(content), os.Link)
}

// CreateFrom is Create for content of any size, which fill writes. If fill fails, no file is created.
func CreateFrom(path string, fill func(w io.Writer) error) error {
	return writeFile(path, fill, os.Link)
}

func contentWriter(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

func writeFile(path string, fill func(io.Writer) error, place func(from, to string) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), temporaryPrefix+"*") // CreateTemp uses mode 0600
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	defer os.Remove(temporary.Name())
	err = fill(temporary)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err == nil {
		err = place(temporary.Name(), path)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// MkdirAll creates a directory and its missing parents, with mode 0700.
func MkdirAll(path string) error {
	switch err := os.Mkdir(path, 0o700); {
	case errors.Is(err, fs.ErrNotExist):
		if err := MkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		return MkdirAll(path)
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		if err != nil {
			return fmt.Errorf("durable: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("durable: %w", err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// Rename renames a file within its directory. It replaces a file with the new name.
func Rename(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		err = syncDirectory(filepath.Dir(to))
	}
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// Remove removes a file.
func Remove(path string) error {
	err := os.Remove(path)
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// RemoveTemporary removes the temporary files that killed writers left in a directory. The caller must hold the lock of
// the directory's writers.
func RemoveTemporary(directory string) error {
	paths, err := filepath.Glob(filepath.Join(directory, temporaryPrefix+"*"))
	for _, path := range paths {
		if e := os.Remove(path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// ErrIrregular reports that a path does not name a regular file.
var ErrIrregular = errors.New("it is not a regular file")

// OpenRegular is os.OpenFile for an existing regular file. It returns ErrIrregular for other kinds of files, which
// could block the caller, such as a FIFO, or never end. Its errors are of type *fs.PathError and lack the prefix of
// this package.
func OpenRegular(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) { // a socket, or a FIFO without a reader
		err = &fs.PathError{Op: "open", Path: path, Err: ErrIrregular}
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrIrregular}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// syncDirectory syncs a directory, so that a rename in it is on the disk. Windows cannot sync directories, but journals
// renames.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Lock locks a path and waits while another process, or another goroutine of this one, has it locked. The path must be
// a file that has no other purpose. The lock ends with the process at the latest.
func Lock(path string) (unlock func(), err error) {
	unlock, _, err = lock(path, true)
	return unlock, err
}

// TryLock is Lock, but does not wait. It returns false if the path is locked.
func TryLock(path string) (unlock func(), locked bool, err error) { return lock(path, false) }

func lock(path string, wait bool) (unlock func(), locked bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("durable: %w", err)
	}
	if locked, err = lockFile(f, wait); err != nil {
		return nil, false, errors.Join(fmt.Errorf("durable: locking %s: %w", path, err), f.Close())
	}
	if !locked {
		return nil, false, f.Close()
	}
	return func() {
		unlockFile(f) // Close alone would not unlock it: a child process that was just forked shares the file until it executes its program.
		_ = f.Close()
	}, true, nil
}

// Unchanged reports whether two results of Stat for a path show the same file with the same size and modification time.
func Unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
