package keyring

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// directory holds one file for each tenant. A file is only ever replaced by a rename, under the directory's lock, once its
// successor is on the disk.
type directory struct{ path string }

const (
	fileSuffix      = ".keyset"
	temporaryPrefix = ".writing-"
	lockName        = ".lock"
)

func openDirectory(path string) (directory, error) {
	d := directory{path}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return d, unreadable(path, err)
	}
	unlock, err := d.lock()
	if err != nil {
		return d, err
	}
	defer unlock()
	return d, d.sweep()
}

// sweep removes what writers that were killed left behind: whoever still writes holds the lock.
func (d directory) sweep() error {
	left, err := filepath.Glob(filepath.Join(d.path, temporaryPrefix+"*"))
	if err != nil {
		return unreadable(d.path, err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unreadable(path, err)
		}
	}
	return nil
}

// file is a tenant's path. Any id is safe: its name is a hash of it.
func (d directory) file(tenant string) string {
	sum := sha256.Sum256([]byte(tenant))
	name := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	return filepath.Join(d.path, strings.ToLower(name)+fileSuffix)
}

// lock waits until no other process, and no other goroutine of this one, changes the directory.
func (d directory) lock() (unlock func(), err error) {
	path := filepath.Join(d.path, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return nil, unreadable(path, err)
	}
	return func() { _ = f.Close() }, nil // closing it unlocks it
}

// read gives a tenant's file and what tells it from its successors; fs.ErrNotExist where there is none.
func (d directory) read(tenant string) ([]byte, fs.FileInfo, error) {
	path := d.file(tenant)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	content, err := io.ReadAll(io.LimitReader(f, envelope.MaxDocument+1))
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	return content, info, nil
}

// changed reports whether a tenant's file is another than the one that was read.
func (d directory) changed(tenant string, read fs.FileInfo) bool {
	now, err := os.Stat(d.file(tenant))
	return err == nil && (!os.SameFile(now, read) || !now.ModTime().Equal(read.ModTime()) || now.Size() != read.Size())
}

// write replaces a tenant's file, or makes it, and returns when it is on the disk. The caller holds the lock.
func (d directory) write(tenant string, content []byte) error {
	path := d.file(tenant)
	f, err := os.CreateTemp(d.path, temporaryPrefix+"*") // mode 0600
	if err != nil {
		return unreadable(path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return unreadable(path, err)
	}
	return syncDirectory(d.path)
}

// syncDirectory puts a rename on the disk. Windows cannot sync a directory, and journals renames.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return unreadable(path, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return unreadable(path, err)
	}
	return nil
}

// unreadable names the file and the reason.
func unreadable(path string, reason error) error {
	var p *fs.PathError
	if errors.As(reason, &p) {
		reason = p.Err
	}
	return fmt.Errorf("keyring: %s: %w: %s", path, ErrUnreadable, reason)
}
