package token

import (
	"fmt"
	"os"
	"path/filepath"
)

// replace puts content in path's place in one step: after a crash the file is the former or the new one.
func replace(path string, content []byte) error {
	return write(path, content, os.Rename)
}

// create is replace for a path that is not there; one that is remains, with an error that is fs.ErrExist.
func create(path string, content []byte) error {
	return write(path, content, os.Link)
}

func write(path string, content []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	temporary, err := os.CreateTemp(dir, ".token-*") // mode 0600
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Sync()
	}
	if e := temporary.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = place(temporary.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return nil
}

// syncDir makes a rename last through a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
