package sqlitekeys

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/keystore"
)

// formatVersion is the version of the schema. A database of a later one does not open.
const formatVersion = 1

const pageSize = 4096

const (
	// A transaction ends when its journal is removed, and the directory synced.
	pragmas = `
PRAGMA page_size = 4096;
PRAGMA busy_timeout = 10000;
PRAGMA journal_mode = DELETE;
PRAGMA synchronous = EXTRA;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;`

	// Names have an index of their own, so that a damaged page of documents hides no name. An entry of the feed has a
	// random id: the feed of another database, or of an earlier state, does not contain a reader's position.
	schema = `
BEGIN IMMEDIATE;
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
INSERT INTO feed (kind, name) SELECT '', x'' WHERE NOT EXISTS (SELECT * FROM feed);
PRAGMA user_version = %d;
COMMIT;`
)

// conn is a connection with its prepared statements.
type conn struct {
	*sqlite3.Conn
	file       fs.FileInfo // of the file that it opened, as it was at the last call
	statements map[string]*sqlite3.Stmt
}

// connect opens a file, and makes it and its schema if they are missing. The caller closes the connection after an
// error as well.
func connect(ctx context.Context, path string) (c *conn, err error) {
	c = &conn{statements: map[string]*sqlite3.Stmt{}}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would use another mode
	if err != nil {
		return c, err
	}
	c.file, err = f.Stat()
	_ = f.Close()
	if err != nil {
		return c, err
	}
	modeOf := "modeof=" + strings.ReplaceAll(url.QueryEscape(path), "+", "%20") // of the journal
	address := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: modeOf}
	if c.Conn, err = sqlite3.OpenContext(ctx, address.String()); err != nil {
		return c, err
	}
	c.SetInterrupt(ctx)
	if _, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, 8); err != nil { // checksums, if it is new
		return c, err
	}
	if err := c.Exec(pragmas); err != nil {
		return c, err
	}
	return c, c.check(path)
}

// check makes the schema in a new file, and refuses a file of another format and one with a part of a page, whose
// checksum would not be verified.
func (c *conn) check(path string) error {
	version, size := 0, int64(0)
	err := c.query(nil, read)
	if err == nil {
		err = c.query(func(row *sqlite3.Stmt) { version = row.ColumnInt(0) }, "PRAGMA user_version")
	}
	if err == nil { // nobody writes as long as this reads
		size, err = fileSize(path)
	}
	if err == nil {
		err = c.query(nil, commit)
	}
	switch {
	case err != nil:
		return err
	case size%pageSize != 0:
		return sqlite3.CORRUPT
	case version == 0:
		return c.Exec(fmt.Sprintf(schema, formatVersion))
	case version != formatVersion:
		return fmt.Errorf("it has format %d and this program reads format %d", version, formatVersion)
	}
	return nil
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// opened reports whether the connection's file is the one at the path. If the file changed since the last call,
// pages are read again: a copy that was written over it can have the change counter by which SQLite notices changes.
func (c *conn) opened(path string) bool {
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(now, c.file) {
		return false
	}
	if !durable.Same(now, c.file) {
		c.file = now
		_, err = c.FileControl("main", sqlite3.FCNTL_RESET_CACHE)
	}
	return err == nil && now.Size()%pageSize == 0
}

// query executes a statement, which is prepared once, and calls row for each row. Arguments have the types below.
func (c *conn) query(row func(*sqlite3.Stmt), text string, args ...any) (err error) {
	stmt := c.statements[text]
	if stmt == nil {
		if stmt, _, err = c.PrepareFlags(text, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
		c.statements[text] = stmt
	}
	for i, arg := range args {
		switch a := arg.(type) {
		case keystore.Kind:
			err = stmt.BindText(i+1, string(a))
		case string:
			err = stmt.BindBlob(i+1, []byte(a))
		case []byte:
			err = stmt.BindBlob(i+1, a)
		case int64:
			err = stmt.BindInt64(i+1, a)
		}
		if err != nil {
			return err
		}
	}
	for stmt.Step() {
		row(stmt)
	}
	err = stmt.Err()
	_ = stmt.Reset()
	_ = stmt.ClearBindings() // frees the document's copy
	return err
}

// close ends a transaction without its changes, and closes the file. c can be nil.
func (c *conn) close() error {
	if c == nil {
		return nil
	}
	for _, stmt := range c.statements {
		_ = stmt.Close()
	}
	return c.Conn.Close()
}
