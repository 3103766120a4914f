package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/durable"
)

// Directory is a Store in a directory of one host. It has a file for each document, in one of 256 folders for
// each kind; a feed (see feed.go); and a marker for each due time (see due.go). All of them are written under
// one lock, in an order that survives a kill between any two steps: first the marker, then the entry of the
// feed, then the document, and last the former marker is removed. So a marker or an entry can be without its
// document, which costs its reader one look, but no document is without them.
//
// Files that are copied into the directory by other programs have neither marker nor entry: use a restore.
type Directory struct {
	path string
	disk disk
}

var _ Store = (*Directory)(nil)

const (
	lockName    = ".lock"
	writingName = ".writing" // the file that the holder of the lock writes and renames
	feedName    = "feed"
	dueName     = "due"
)

// OpenDirectory opens a directory, and makes it if it is missing. Only its owner can read it.
func OpenDirectory(path string) (*Directory, error) { return openDirectory(path, disk{}) }

func openDirectory(path string, disk disk) (*Directory, error) {
	d := &Directory{path, disk}
	for _, folder := range []string{path, filepath.Join(path, feedName), filepath.Join(path, dueName)} {
		if err := d.disk.makeAll(folder); err != nil {
			return nil, unavailable(folder, err)
		}
	}
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := d.lastSegment(); err != nil {
		return nil, err
	}
	return d, nil
}

// lock waits until no other writer is active. Readers of the feed and of due times take it as well: they must
// not see an entry or a marker before the document that it belongs to.
func (d *Directory) lock() (unlock func(), err error) {
	unlock, err = durable.Lock(filepath.Join(d.path, lockName))
	if err != nil {
		return nil, unavailable(d.path, err)
	}
	return unlock, nil
}

// place returns the folder and the file of a document. The file's name is a hash of the document's, so any name is safe.
func (d *Directory) place(kind Kind, name string) (folder, file string) {
	sum := sha256.Sum256([]byte(name))
	file = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	return filepath.Join(d.path, string(kind), hex.EncodeToString(sum[:1])), file
}

// Where implements Store.
func (d *Directory) Where(kind Kind, name string) string { return filepath.Join(d.place(kind, name)) }

// Get implements Store.
func (d *Directory) Get(_ context.Context, kind Kind, name string) ([]byte, error) {
	record, err := d.read(kind, name)
	if err != nil || record == nil {
		return nil, err
	}
	return record.Content, nil
}

// Swap implements Store.
func (d *Directory) Swap(ctx context.Context, kind Kind, name string, old, document []byte, due int64) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := CheckWrite(d.Where(kind, name), name, document); err != nil {
		return false, err
	}
	unlock, err := d.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	record, err := d.read(kind, name)
	if err != nil {
		return false, err
	}
	var now []byte
	var former int64
	if record != nil {
		now, former = record.Content, record.due
	}
	if !same(now, old) || now == nil && document == nil {
		return same(now, document), nil
	}
	if document == nil {
		due = 0
	}
	if err := d.swap(kind, name, document, due); err != nil {
		return false, unavailable(d.Where(kind, name), err)
	}
	if former != 0 && former != due {
		_ = d.unmark(kind, name, former) // one that remains is ignored
	}
	return true, nil
}

// swap carries out the steps of a change but for the last one.
func (d *Directory) swap(kind Kind, name string, document []byte, due int64) error {
	if due != 0 {
		if err := d.mark(kind, name, due); err != nil {
			return err
		}
	}
	if err := d.announce(Change{kind, name}); err != nil {
		return err
	}
	folder, file := d.place(kind, name)
	if document == nil {
		return d.disk.remove(filepath.Join(folder, file))
	}
	if err := d.disk.makeAll(folder); err != nil {
		return err
	}
	return d.disk.replace(filepath.Join(d.path, writingName), filepath.Join(folder, file), encodeRecord(record{Document{Name: name, Content: document}, due}))
}

// Page implements Store, in the order of the files' paths. It lists one folder at a time.
func (d *Directory) Page(ctx context.Context, kind Kind, after string, limit int) (documents []Document, next string, err error) {
	root := filepath.Join(d.path, string(kind))
	folders, err := d.names(root)
	if err != nil {
		return nil, "", err
	}
	begin, last, _ := strings.Cut(after, "/")
	for _, folder := range folders {
		if folder < begin {
			continue
		}
		files, err := d.names(filepath.Join(root, folder))
		if err != nil {
			return nil, "", err
		}
		for _, file := range files {
			if folder == begin && file <= last {
				continue
			}
			if len(documents) == limit {
				return documents, next, nil
			}
			if err := ctx.Err(); err != nil {
				return nil, "", err
			}
			record, err := d.readFile(kind, folder, file)
			switch next = folder + "/" + file; {
			case err != nil:
				documents = append(documents, Document{Err: err})
			case record != nil:
				documents = append(documents, record.Document)
			}
		}
	}
	return documents, "", nil
}

// names returns the sorted names in a folder, none if it is missing.
func (d *Directory) names(folder string) (names []string, err error) {
	entries, err := d.disk.list(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(folder, err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// same reports whether both are the same document, or both none.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// unavailable names the file and the reason.
func unavailable(path string, reason error) error {
	var p *fs.PathError
	if errors.As(reason, &p) {
		reason = p.Err
	}
	return fmt.Errorf("keystore: %s: %w: %s", path, ErrUnavailable, reason)
}
