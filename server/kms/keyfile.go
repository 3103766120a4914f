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

// maxKeyFile is the number of bytes that are read of a key file.
const maxKeyFile = 256

// OpenFile opens the KEK in a key file, which contains 32 bytes in base64. It returns ErrURL if the file is missing,
// may be read by users other than its owner, or contains anything else.
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
		return nil, fmt.Errorf("kms: key file %s may be read by other users (mode %04o): run chmod 600 on it: %w", path, info.Mode().Perm(), ErrURL)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s: %s: %w", path, reason(err), ErrURL)
	}
	key, err := decodeKey(strings.TrimSpace(string(text)))
	defer clear(key)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s does not contain 32 bytes in base64: %w", path, ErrURL)
	}
	kek, err := NewLocal(key)
	if err != nil {
		return nil, fmt.Errorf("kms: key file %s does not contain 32 bytes in base64: %w", path, ErrURL)
	}
	return kek, nil
}

// reason returns the text of an error of package os without the path.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// CreateFile creates a key file with a random key and mode 0600, and returns when it is on the disk. It never replaces
// a file: it returns fs.ErrExist if the path exists.
func CreateFile(path string) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return fmt.Errorf("kms: create key file: %w", err)
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
		return fmt.Errorf("kms: create key file: %w", err)
	}
	if err := os.Link(temporary.Name(), path); err != nil { // unlike os.Rename, it never replaces a file
		return fmt.Errorf("kms: create key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir writes the entries of a directory to the disk. Windows has no call for that.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("kms: create key file: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("kms: create key file: %w", err)
	}
	return nil
}
