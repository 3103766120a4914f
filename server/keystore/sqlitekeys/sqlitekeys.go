// Package sqlitekeys is the keystore.Store in a directory of one host: a SQLite database, keys.db, that several
// processes use at once.
//
// It guarantees that a document, its due time and its entry in the feed change in one transaction, which is on the
// disk when Swap returns, and that a kill at any time and a full disk leave the former content. Every page has a
// checksum: damage is an error of the documents that it concerns, never a missing document. If the file is
// removed or replaced under a running process, the next call uses the new one, whose feed does not contain the
// process's position. Transactions use a rollback journal, which needs no memory that processes share: a full
// disk could raise SIGBUS there.
package sqlitekeys

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/keystore"
)

const fileName = "keys.db"

// Store is a keystore.Store in a directory.
type Store struct {
	path string
	free chan *conn // holds the one connection while no call uses it; nil if the next call opens one
}

var _ keystore.Store = (*Store)(nil)

// Open opens the database in a directory, and makes both if they are missing. Only their owner can read them.
func Open(dir string) (*Store, error) {
	s := &Store{filepath.Join(dir, fileName), make(chan *conn, 1)}
	s.free <- nil
	if err := durable.MkdirAll(dir); err != nil {
		return nil, s.failed(dir, err)
	}
	return s, s.transact(context.Background(), read, s.path, func(*conn) error { return nil })
}

// Close waits for the running call and closes the file. A later call opens it again.
func (s *Store) Close() error {
	c := <-s.free
	s.free <- nil
	return c.close()
}

// Where implements keystore.Store.
func (s *Store) Where(kind keystore.Kind, name string) string {
	return fmt.Sprintf("%s: %s %q", s.path, kind, name)
}

// How a transaction begins and ends. Of several that write, the others wait, until the time of busy_timeout.
const (
	read   = "BEGIN"
	write  = "BEGIN IMMEDIATE"
	commit = "COMMIT"
)

// transact calls do in a transaction. After an error the connection is closed, and its state with it.
func (s *Store) transact(ctx context.Context, begin, where string, do func(c *conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	var c *conn
	select {
	case c = <-s.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.free <- c }()
	for err == nil && (c == nil || !c.opened(s.path)) {
		_ = c.close()
		c, err = connect(ctx, s.path)
	}
	if err == nil {
		c.SetInterrupt(ctx)
		err = c.query(nil, begin)
	}
	if err == nil {
		err = do(c)
	}
	if err == nil && !c.GetAutocommit() { // do can go on after damage, which ends a transaction that reads
		err = c.query(nil, commit)
	}
	if err == nil {
		return nil
	}
	_ = c.close()
	c = nil
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.failed(where, err)
}

// failed names the place and the reason.
func (s *Store) failed(where string, err error) error {
	if isDamage(err) {
		err = fmt.Errorf("damaged, restore it from a backup: %w", err)
	}
	return fmt.Errorf("keystore: %s: %w: %w", where, keystore.ErrUnavailable, err)
}

func isDamage(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR_DATA)
}
