package keystore

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/coffer-storage/coffer/server/durable"
)

// disk is the operations on files that a Directory consists of. Each one that changes something is durable
// when it returns. Tests count them, and end a writer before any of them.
type disk struct {
	before func(operation, path string) error // called before each operation; nil in production
}

func (d *disk) begin(operation, path string) error {
	if d.before == nil {
		return nil
	}
	return d.before(operation, path)
}

// makeAll makes a folder and those above it.
func (d *disk) makeAll(path string) error {
	if err := d.begin("make", path); err != nil {
		return err
	}
	return durable.MkdirAll(path)
}

// list returns a folder's entries, in no order.
func (d *disk) list(path string) ([]fs.DirEntry, error) {
	if err := d.begin("list", path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// read returns a file's first bytes, limit at most.
func (d *disk) read(path string, limit int) ([]byte, error) { return d.readFrom(path, 0, limit) }

// readFrom returns a file's bytes from an offset, limit at most.
func (d *disk) readFrom(path string, offset int64, limit int) ([]byte, error) {
	if err := d.begin("read", path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, offset, int64(limit)))
}

// replace writes a file under a temporary path and renames it. The caller is the only one who uses that path.
func (d *disk) replace(temporary, path string, content []byte) error {
	if err := d.begin("replace", path); err != nil {
		return err
	}
	return durable.ReplaceFrom(temporary, path, content)
}

// remove removes a file. A missing one is not an error.
func (d *disk) remove(path string) error {
	if err := d.begin("remove", path); err != nil {
		return err
	}
	if err := durable.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeIfEmpty removes a folder that holds nothing.
func (d *disk) removeIfEmpty(path string) { _ = os.Remove(path) }

// size returns a file's size in bytes.
func (d *disk) size(path string) (int64, error) {
	if err := d.begin("size", path); err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// exists reports whether there is a file.
func (d *disk) exists(path string) (bool, error) {
	if err := d.begin("exists", path); err != nil {
		return false, err
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// appendLine appends a line to a file. If a killed writer left a part of a line at the end, that is cut off first.
func (d *disk) appendLine(path string, line []byte) error {
	if err := d.begin("append", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := endOfLines(f)
	if err == nil {
		_, err = f.WriteAt(line, end)
	}
	if err == nil {
		err = f.Sync()
	}
	return err
}

// endOfLines returns where the last whole line of a file ends, and cuts off what follows.
func endOfLines(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return 0, err
	}
	var last [maxLine]byte
	n := min(size, maxLine)
	if _, err := f.ReadAt(last[:n], size-n); err != nil {
		return 0, err
	}
	end := size
	for ; n > 0 && last[n-1] != '\n'; n-- {
		end--
	}
	if end < size {
		err = f.Truncate(end)
	}
	return end, err
}
