package kms

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
)

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 256

// OpenFile opens the KEK in a file of 32 bytes in base64. It returns ErrURL where the file is missing, may be
// read by others than its owner, or holds something else.
func OpenFile(path string) (KEK, error) {
	f, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s: %s: %w", path, reason(err), ErrURL)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s: %s: %w", path, reason(err), ErrURL)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("kms: key file %s may be read by others (mode %04o); chmod 600 it: %w", path, info.Mode().Perm(), ErrURL)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s: %s: %w", path, reason(err), ErrURL)
	}
	key, err := decodeKey(strings.TrimSpace(string(text)))
	defer clear(key)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s does not hold 32 bytes in base64: %w", path, ErrURL)
	}
	kek, err := NewLocal(key)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s does not hold 32 bytes in base64: %w", path, ErrURL)
	}
	return kek, nil
}

// reason is an error of package os without the path, which the message has already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// CreateFile makes a key file with 32 random bytes, mode 0600, and returns once it is on the disk. It never
// replaces a file: one that is there is fs.ErrExist.
func CreateFile(path string) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return fmt.Errorf("kms: make a key file: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	key := secret.New()
	defer key.Clear()
	raw := key.Append(nil)
	defer clear(raw)
	text := base64.StdEncoding.AppendEncode(nil, raw)
	defer clear(text)
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("kms: make a key file: %w", err)
	}
	if err := os.Link(temporary.Name(), path); err != nil { // unlike a rename, it replaces nothing
		return fmt.Errorf("kms: make a key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir puts a directory's entries on the disk, which Windows cannot be asked for.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("kms: make a key file: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("kms: make a key file: %w", err)
	}
	return nil
}
