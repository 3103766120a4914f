package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/durable"
)

// Directory is a Store with a folder for each kind and a file for each document. A file is only ever replaced
// by a rename, under the directory's lock, once its successor is on the disk.
type Directory struct {
	path  string
	index index
}

var _ Store = (*Directory)(nil)

const lockName = ".lock"

// OpenDirectory opens a directory, and makes it where it is missing, for its owner's eyes only. It removes
// what writers that were killed left behind.
func OpenDirectory(path string) (*Directory, error) {
	d := &Directory{path: path}
	for _, kind := range []Kind{Keysets, Rotations, Leases} {
		if err := os.MkdirAll(d.folder(kind), 0o700); err != nil {
			return nil, unavailable(path, err)
		}
	}
	unlock, err := durable.Lock(filepath.Join(path, lockName))
	if err != nil {
		return nil, unavailable(path, err)
	}
	defer unlock() // whoever still writes holds it, so what is swept is nobody's
	for _, kind := range []Kind{Keysets, Rotations, Leases} {
		if err := durable.Sweep(d.folder(kind)); err != nil {
			return nil, unavailable(d.folder(kind), err)
		}
	}
	return d, nil
}

func (d *Directory) folder(kind Kind) string { return filepath.Join(d.path, string(kind)) }

// Where implements Store. Any name is safe: the file's is a hash of it.
func (d *Directory) Where(kind Kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	file := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	return filepath.Join(d.folder(kind), strings.ToLower(file))
}

// Get implements Store.
func (d *Directory) Get(_ context.Context, kind Kind, name string) ([]byte, error) {
	return read(d.Where(kind, name))
}

// read gives a file's content, nil where there is none.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(path, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxDocument+1))
	if err != nil {
		return nil, unavailable(path, err)
	}
	if len(content) == 0 || len(content) > MaxDocument {
		return nil, unavailable(path, errors.New("damaged, restore it from a backup (its size is none that a document has)"))
	}
	return content, nil
}

// Swap implements Store.
func (d *Directory) Swap(ctx context.Context, kind Kind, name string, old, document []byte) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	path := d.Where(kind, name)
	if len(document) > MaxDocument {
		return false, unavailable(path, errors.New("the document is too large"))
	}
	unlock, err := durable.Lock(filepath.Join(d.path, lockName))
	if err != nil {
		return false, unavailable(path, err)
	}
	defer unlock()
	now, err := read(path)
	if err != nil || (now == nil) != (old == nil) || !bytes.Equal(now, old) {
		return false, err
	}
	switch {
	case document != nil:
		err = durable.Replace(path, document)
	case now != nil:
		err = durable.Remove(path)
	}
	if err != nil {
		return false, unavailable(path, err)
	}
	return true, nil
}

// All implements Store.
func (d *Directory) All(ctx context.Context, kind Kind) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		files, err := d.files(kind)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, file := range files {
			content, err := read(filepath.Join(d.folder(kind), file))
			if err == nil {
				err = ctx.Err()
			}
			if (content != nil || err != nil) && !yield(content, err) {
				return
			}
		}
	}
}

// Page implements Store, in the order of the files' names.
func (d *Directory) Page(ctx context.Context, kind Kind, after string, limit int) (documents [][]byte, next string, err error) {
	files, err := d.index.after(ctx, d, kind, after, func() ([]string, error) { return d.files(kind) })
	if err != nil {
		return nil, "", err
	}
	last := ""
	for _, file := range files {
		if len(documents) == limit {
			return documents, last, nil
		}
		content, err := read(filepath.Join(d.folder(kind), file))
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, "", err
		}
		if last = file; content != nil {
			documents = append(documents, content)
		}
	}
	return documents, "", nil
}

// files gives the names of the files of a kind.
func (d *Directory) files(kind Kind) (all []string, err error) {
	entries, err := os.ReadDir(d.folder(kind))
	if err != nil {
		return nil, unavailable(d.folder(kind), err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			all = append(all, entry.Name())
		}
	}
	return all, nil
}

// settled is beyond the resolution of a file system's clock: within it, two changes may bear one time.
const settled = 100 * time.Millisecond

// Generation implements Store: the folder's time, which every rename moves on. A time that is too young to
// tell two changes apart is told as another one each time.
func (d *Directory) Generation(_ context.Context, kind Kind) (string, error) {
	info, err := os.Stat(d.folder(kind))
	if err != nil {
		return "", unavailable(d.folder(kind), err)
	}
	now, changed := time.Now(), info.ModTime()
	if age := now.Sub(changed); age < settled {
		changed = now
	}
	return changed.Format(time.RFC3339Nano), nil
}

// unavailable names the file and the reason.
func unavailable(path string, reason error) error {
	var p *fs.PathError
	if errors.As(reason, &p) {
		reason = p.Err
	}
	return fmt.Errorf("keystore: %s: %w: %s", path, ErrUnavailable, reason)
}
