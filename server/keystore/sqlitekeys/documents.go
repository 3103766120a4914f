package sqlitekeys

import (
	"bytes"
	"context"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

// contentOf returns the content of a document, or nil if it does not exist.
func contentOf(c *sqlitefile.Conn, kind keystore.Kind, name string) (content []byte, err error) {
	for row, err := range c.Rows("SELECT content FROM documents WHERE kind = ? AND name = ?", string(kind), []byte(name)) {
		if err != nil {
			return nil, err
		}
		content = row.ColumnBlob(0, []byte{}) // not nil if empty: empty content is damage, not a missing document
	}
	return content, nil
}

// namesOf returns the names that a query selects.
func namesOf(c *sqlitefile.Conn, query string, args ...any) (names []string, err error) {
	for row, err := range c.Rows(query, args...) {
		if err != nil {
			return nil, err
		}
		names = append(names, string(row.ColumnRawBlob(0)))
	}
	return names, nil
}

// Get implements keystore.Store.
func (s *Store) Get(ctx context.Context, kind keystore.Kind, name string) (content []byte, err error) {
	err = s.transact(ctx, read, s.Location(kind, name), func(c *sqlitefile.Conn) (err error) {
		content, err = contentOf(c, kind, name)
		return err
	})
	return content, err
}

// Swap implements keystore.Store.
func (s *Store) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (swapped bool, err error) {
	where := s.Location(kind, name)
	if err := keystore.CheckWrite(where, name, document); err != nil {
		return false, err
	}
	err = s.transact(ctx, write, where, func(c *sqlitefile.Conn) error {
		now, err := contentOf(c, kind, name)
		switch {
		case err != nil:
			return err
		case !bytes.Equal(now, old) || now == nil && document == nil:
			swapped = bytes.Equal(now, document)
			return nil
		}
		swapped = true
		return change(c, kind, name, document, due)
	})
	return swapped && err == nil, err
}

// change writes or removes a document, and adds an entry to the feed.
func change(c *sqlitefile.Conn, kind keystore.Kind, name string, document []byte, due int64) (err error) {
	if document == nil {
		err = c.Run("DELETE FROM documents WHERE kind = ? AND name = ?", string(kind), []byte(name))
	} else {
		err = c.Run(`INSERT INTO documents (kind, name, due, content) VALUES (?, ?, ?, ?)
			ON CONFLICT (kind, name) DO UPDATE SET due = excluded.due, content = excluded.content`, string(kind), []byte(name), due, document)
	}
	if err != nil {
		return err
	}
	return announce(c, kind, name)
}

// Page implements keystore.Store, in the order of names.
func (s *Store) Page(ctx context.Context, kind keystore.Kind, after string, limit int) (documents []keystore.Document, next string, err error) {
	var from []byte
	if after != "" {
		from = append([]byte(after[1:]), 0) // the next possible name
	}
	err = s.transact(ctx, read, s.path, func(c *sqlitefile.Conn) error {
		names, err := namesOf(c, "SELECT name FROM documents INDEXED BY names WHERE kind = ? AND name >= ? ORDER BY name LIMIT ?",
			string(kind), from, int64(limit)+1)
		if err != nil {
			return err
		}
		if len(names) > limit {
			names = names[:limit]
			next = "." + names[limit-1] // never empty, although a name can be
		}
		for _, name := range names {
			content, err := contentOf(c, kind, name)
			switch {
			case sqlitefile.IsDamage(err):
				documents = append(documents, keystore.Document{Name: name, Err: s.failed(s.Location(kind, name), err)})
			case err != nil:
				return err
			case content != nil: // if nil, it was removed after damage ended the transaction
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

// Due implements keystore.Store. It also returns documents that cannot be read, so that the caller reports them.
func (s *Store) Due(ctx context.Context, kind keystore.Kind, until int64, limit int) (names []string, err error) {
	err = s.transact(ctx, read, s.path, func(c *sqlitefile.Conn) (err error) {
		names, err = namesOf(c, "SELECT name FROM documents INDEXED BY due WHERE kind = ? AND due != 0 AND due <= ? ORDER BY due, name LIMIT ?",
			string(kind), until, int64(limit))
		return err
	})
	return names, err
}
