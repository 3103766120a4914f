// Package durable replaces files as a whole.
//
// It guarantees that after a kill or a power cut at any point a file is the former or the new one, that what
// was written is on the disk when a call returns, that only its owner can read it, and that whoever changes a
// file under its lock loses no other's change.
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

// Replace puts content in the path's place, in a directory that is there.
func Replace(path string, content []byte) error { return write(path, bytes(content), os.Rename) }

// Create is Replace for a path that is not there; one that is remains, with an error that is fs.ErrExist.
func Create(path string, content []byte) error { return write(path, bytes(content), os.Link) }

// CreateFrom is Create for content of any size, which fill writes. If fill fails there is no file.
func CreateFrom(path string, fill func(w io.Writer) error) error { return write(path, fill, os.Link) }

func bytes(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

func write(path string, fill func(io.Writer) error, place func(from, to string) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), temporaryPrefix+"*") // mode 0600
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

// MkdirAll makes a directory and those above it, for their owner only.
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

// Rename gives a file another name in its directory.
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

// Remove takes a file away.
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

// Sweep removes what writers that were killed left in a directory. The caller holds the lock that its writers take.
func RemoveTemporary(directory string) error {
	left, err := filepath.Glob(filepath.Join(directory, temporaryPrefix+"*"))
	for _, path := range left {
		if e := os.Remove(path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	return nil
}

// ErrIrregular reports that a path is not of a regular file.
var ErrIrregular = errors.New("it is not a regular file")

// OpenRegular is os.OpenFile for a file that exists. It returns ErrIrregular instead of a file that could block its opener or
// reader, such as a FIFO, or never end. Its errors are of type *fs.PathError, without the name of this package.
func OpenRegular(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) { // a FIFO without a reader, or a socket
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

// syncDirectory puts a rename on the disk. Windows cannot sync a directory, and journals renames.
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

// Lock waits until no other process, and no other goroutine of this one, holds the lock of a path: a file that is
// made for nothing else.
func Lock(path string) (unlock func(), err error) {
	unlock, _, err = lock(path, true)
	return unlock, err
}

// TryLock is Lock, but reports false instead of waiting.
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
		unlockFile(f) // a process that is forked just now has the file too, until it becomes another program
		_ = f.Close()
	}, true, nil
}

// Same reports whether two looks at a path saw the same content.
func Unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
