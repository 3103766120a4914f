package sqlitekeys

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

// schema is the schema of the database. A transaction ends when its journal is removed and the directory is synced.
// Names have an index of their own, so that a damaged page of documents hides no name. Each entry of the feed has a
// random id: the feed of another database, or of an earlier state, does not have a reader's position.
var schema = sqlitefile.Schema{
	Version: 1,
	Pragmas: `
PRAGMA journal_mode = DELETE;
PRAGMA synchronous = EXTRA;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;`,
	Tables: `
CREATE TABLE IF NOT EXISTS documents (
	id      INTEGER PRIMARY KEY,
	kind    TEXT NOT NULL,
	name    BLOB NOT NULL,
	due     INTEGER NOT NULL, -- Unix milliseconds; 0: never
	content BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS names ON documents (kind, name);
CREATE INDEX IF NOT EXISTS due ON documents (kind, due, name) WHERE due != 0;
CREATE TABLE IF NOT EXISTS feed (
	place INTEGER PRIMARY KEY,
	id    INTEGER NOT NULL DEFAULT (random()),
	kind  TEXT NOT NULL,
	name  BLOB NOT NULL
) STRICT;
INSERT INTO feed (kind, name) SELECT '', x'' WHERE NOT EXISTS (SELECT * FROM feed)`,
}

// How a transaction begins. Only one can write at a time; the others wait, for at most ten seconds.
const (
	read  = "BEGIN"
	write = "BEGIN IMMEDIATE"
)

// transact calls do in a transaction. After an error it closes the connection, and with it the connection's state.
func (s *Store) transact(ctx context.Context, begin, where string, do func(c *sqlitefile.Conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	var c *sqlitefile.Conn
	select {
	case c = <-s.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.free <- c }()
	if !isConnectedTo(c, s.path) {
		_ = c.Close()
		c, err = sqlitefile.Open(ctx, s.path, schema)
	}
	if err == nil {
		c.SetInterrupt(ctx)
		err = c.Transact(begin, func() error { return do(c) })
	}
	if err == nil {
		return nil
	}
	_ = c.Close()
	c = nil
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.failed(where, err)
}

// isConnectedTo reports whether a connection is to the file that is at a path now. If the file changed since the last
// call, isConnectedTo drops the page cache: a copy that was written over the file can have the same change counter,
// by which SQLite notices changes.
func isConnectedTo(c *sqlitefile.Conn, path string) bool {
	now, err := os.Stat(path)
	if c == nil || err != nil || !os.SameFile(now, c.Info) {
		return false
	}
	if !durable.Unchanged(now, c.Info) {
		c.Info = now
		_, err = c.FileControl("main", sqlite3.FCNTL_RESET_CACHE)
	}
	return err == nil && now.Size()%sqlitefile.PageSize == 0
}

// failed wraps an error with the location and the reason.
func (s *Store) failed(where string, err error) error {
	kind := error(keystore.ErrUnavailable)
	switch {
	case sqlitefile.IsDamage(err):
		err = fmt.Errorf("damaged: stop all servers and run `coffer store repair`, then restore lost keysets from a backup: %w", err)
	case sqlitefile.IsFull(err, filepath.Dir(s.path)):
		kind = keystore.ErrFull
	}
	return fmt.Errorf("keystore: %s: %w: %w", where, kind, err)
}
