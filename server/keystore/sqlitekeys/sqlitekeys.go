// Package sqlitekeys is the keystore.Store in a directory of one host: a SQLite database, keys.db, that several
// processes use at once.
//
// It guarantees that a document, its due time and its entry in the feed change in one transaction, which is on the
// disk when Swap returns, and that a kill at any time and a full disk leave the former content. Every page has a
// checksum: damage is an error of the documents that it concerns, never a missing document. If the file is
// removed or replaced under a running process, the next call uses the new one. Its feed does not contain the
// process's position. Transactions use a rollback journal, which needs no memory that processes share: a full
// disk could raise SIGBUS there.
package sqlitekeys

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

const fileName = "keys.db"

// Store is a keystore.Store in a directory.
type Store struct {
	path string
	free chan *sqlitefile.Conn // holds the one connection while no call uses it; nil if the next call opens one
}

var _ keystore.Store = (*Store)(nil)

// Open opens the database in a directory, and makes both if they are missing. Only their owner can read them.
func Open(dir string) (*Store, error) {
	s := &Store{filepath.Join(dir, fileName), make(chan *sqlitefile.Conn, 1)}
	s.free <- nil
	if err := durable.MkdirAll(dir); err != nil {
		return nil, s.failed(dir, err)
	}
	return s, s.transact(context.Background(), read, s.path, func(*sqlitefile.Conn) error { return nil })
}

// Close waits for the running call and closes the file. A later call opens it again.
func (s *Store) Close() error {
	c := <-s.free
	s.free <- nil
	return c.Close()
}

// Where implements keystore.Store.
func (s *Store) Location(kind keystore.Kind, name string) string {
	return fmt.Sprintf("%s: %s %q", s.path, kind, name)
}
