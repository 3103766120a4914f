// Package sqlitekeys implements keystore.Store in a directory of one host: a SQLite database, keys.db, which several
// processes may use concurrently.
//
// Guarantees:
//   - A document, its due time and its entry in the feed change in one transaction, which is on disk when Swap returns.
//     A kill at any time or a full disk leaves the former content.
//   - Every page has a checksum. Damage is an error of the documents that it affects, never a missing document.
//   - If the file is removed or replaced while a process uses it, the next call uses the new file. Its feed does not
//     have the process's position.
//
// Transactions use a rollback journal, which needs no memory shared between processes: with a full disk, access to
// such memory could raise SIGBUS.
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

// Store implements keystore.Store. It is safe for concurrent use; calls use one connection in turn.
type Store struct {
	path string
	free chan *sqlitefile.Conn // has the only connection while no call uses it; nil means that the next call opens one
}

var _ keystore.Store = (*Store)(nil)

// Open opens the database in a directory. It creates the directory and the database if they are missing, readable by
// their owner only. The caller closes the store with Close.
func Open(dir string) (*Store, error) {
	s := &Store{filepath.Join(dir, fileName), make(chan *sqlitefile.Conn, 1)}
	s.free <- nil
	if err := durable.MkdirAll(dir); err != nil {
		return nil, s.failed(dir, err)
	}
	return s, s.transact(context.Background(), read, s.path, func(*sqlitefile.Conn) error { return nil })
}

// Close waits for the running call and closes the file. Later calls open it again.
func (s *Store) Close() error {
	c := <-s.free
	s.free <- nil
	return c.Close()
}

// Location implements keystore.Store.
func (s *Store) Location(kind keystore.Kind, name string) string {
	return fmt.Sprintf("%s: %s %q", s.path, kind, name)
}
