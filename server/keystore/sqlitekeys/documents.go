package sqlitekeys

import (
	"bytes"
	"context"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/keystore"
)

// get returns a document, nil if it does not exist.
func (c *conn) get(kind keystore.Kind, name string) (content []byte, err error) {
	err = c.query(func(row *sqlite3.Stmt) { content = row.ColumnBlob(0, []byte{}) },
		"SELECT content FROM documents WHERE kind = ? AND name = ?", kind, name)
	return content, err
}

// Get implements keystore.Store.
func (s *Store) Get(ctx context.Context, kind keystore.Kind, name string) (content []byte, err error) {
	err = s.transact(ctx, read, s.Where(kind, name), func(c *conn) (err error) {
		content, err = c.get(kind, name)
		return err
	})
	return content, err
}

// Swap implements keystore.Store.
func (s *Store) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (swapped bool, err error) {
	where := s.Where(kind, name)
	if err := keystore.CheckWrite(where, name, document); err != nil {
		return false, err
	}
	err = s.transact(ctx, write, where, func(c *conn) error {
		now, err := c.get(kind, name)
		if err != nil {
			return err
		}
		if swapped = same(now, old); !swapped || now == nil && document == nil {
			swapped = same(now, document)
			return nil
		}
		return c.change(kind, name, document, due)
	})
	return swapped && err == nil, err
}

// same reports whether both are the same document, or both none.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// change writes or removes a document, and adds the entry of the feed.
func (c *conn) change(kind keystore.Kind, name string, document []byte, due int64) (err error) {
	if document == nil {
		err = c.query(nil, "DELETE FROM documents WHERE kind = ? AND name = ?", kind, name)
	} else {
		err = c.query(nil, `INSERT INTO documents (kind, name, due, content) VALUES (?, ?, ?, ?)
			ON CONFLICT (kind, name) DO UPDATE SET due = excluded.due, content = excluded.content`, kind, name, due, document)
	}
	if err == nil {
		err = c.query(nil, "INSERT INTO feed (kind, name) VALUES (?, ?)", kind, name)
	}
	if place := c.LastInsertRowID(); err == nil && place%feedPage == 0 {
		err = c.query(nil, "DELETE FROM feed WHERE place <= ?", place-feedLength)
	}
	return err
}

// Page implements keystore.Store, in the order of names.
func (s *Store) Page(ctx context.Context, kind keystore.Kind, after string, limit int) (documents []keystore.Document, next string, err error) {
	from := ""
	if after != "" {
		from = after[1:] + "\x00"
	}
	err = s.transact(ctx, read, s.path, func(c *conn) error {
		var names []string
		if err := c.query(func(row *sqlite3.Stmt) { names = append(names, string(row.ColumnRawBlob(0))) },
			"SELECT name FROM documents INDEXED BY names WHERE kind = ? AND name >= ? ORDER BY name LIMIT ?", kind, from, int64(limit)+1); err != nil {
			return err
		}
		if len(names) > limit {
			names = names[:limit]
			next = "." + names[limit-1] // never empty, although a name can be
		}
		for _, name := range names {
			content, err := c.get(kind, name)
			switch {
			case isDamage(err):
				documents = append(documents, keystore.Document{Name: name, Err: s.failed(s.Where(kind, name), err)})
			case err != nil:
				return err
			case content != nil: // else it was removed after damage ended the transaction
				documents = append(documents, keystore.Document{Name: name, Content: content})
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return documents, next, nil
}

// Due implements keystore.Store. A document that cannot be read is due as well, so that somebody reports it.
func (s *Store) Due(ctx context.Context, kind keystore.Kind, until int64, limit int) (names []string, err error) {
	err = s.transact(ctx, read, s.path, func(c *conn) error {
		return c.query(func(row *sqlite3.Stmt) { names = append(names, string(row.ColumnRawBlob(0))) },
			"SELECT name FROM documents INDEXED BY due WHERE kind = ? AND due != 0 AND due <= ? ORDER BY due, name LIMIT ?", kind, until, int64(limit))
	})
	return names, err
}
