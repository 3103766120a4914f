package sqlitekv

import (
	"crypto/rand"
	"fmt"
	"net/url"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// formatVersion is of the schema. A database of another one does not open.
const formatVersion = 1

// A value lies in chunks, so that a large one takes no more memory of SQLite than a chunk: the first with its
// entry, the others in parts under entry id << partBits | n, n from 1.
const (
	chunkSize = 64 << 10
	partBits  = 11
)

const (
	pragmas = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
PRAGMA busy_timeout = 10000;
PRAGMA cell_size_check = ON;
PRAGMA checksum_verification = ON;
PRAGMA wal_autocheckpoint = 0;`

	schema = `
BEGIN IMMEDIATE;
CREATE TABLE entries (
	id      INTEGER PRIMARY KEY,
	key     BLOB NOT NULL UNIQUE,
	expires INTEGER NOT NULL, -- Unix milliseconds; 0: never
	size    INTEGER NOT NULL, -- of the whole value
	value   BLOB NOT NULL     -- its first chunk
) STRICT;
CREATE INDEX expiring ON entries (expires) WHERE expires > 0;
CREATE TABLE parts (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE store (id TEXT NOT NULL) STRICT;
INSERT INTO store VALUES (%s);
PRAGMA user_version = %d;
COMMIT;`
)

// conn is a connection with its prepared statements. One goroutine uses it at a time.
type conn struct {
	c *sqlite3.Conn

	begin, commit, rollback  *sqlite3.Stmt
	find, value, part        *sqlite3.Stmt
	insert, update, expire   *sqlite3.Stmt
	remove, addPart, cutPart *sqlite3.Stmt
	list, listAll            *sqlite3.Stmt
	expired, vacuum          *sqlite3.Stmt
	free, count              *sqlite3.Stmt
}

// connect opens a connection. The first one of a new database chooses its page layout.
func (s *Store) connect(path string, first bool) (*conn, error) {
	c, err := sqlite3.Open((&url.URL{Scheme: "file", OmitHost: true, Path: path}).String())
	if err != nil {
		return nil, s.failure("open", err)
	}
	one := &conn{c: c}
	s.all = append(s.all, one)
	if _, err := c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil { // see checkpoint
		return nil, s.failure("open", err)
	}
	if first {
		if err := c.Exec("PRAGMA auto_vacuum = INCREMENTAL"); err != nil {
			return nil, s.failure("open", err)
		}
		if err := c.EnableChecksums("main"); err != nil {
			return nil, s.failure("open", err)
		}
	}
	if err := c.Exec(pragmas); err != nil {
		return nil, s.failure("open", err)
	}
	return one, nil
}

// prepareSchema makes the tables of a new database, and returns the id of the database.
func (c *conn) prepareSchema() (id string, err error) {
	version, _, err := c.ask("PRAGMA user_version")
	if err != nil {
		return "", err
	}
	tables, _, err := c.ask("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return "", err
	}
	switch {
	case version == 0 && tables == 0:
		if err := c.c.Exec(fmt.Sprintf(schema, sqlite3.Quote(rand.Text()), formatVersion)); err != nil {
			return "", err
		}
	case version != formatVersion:
		return "", fmt.Errorf("%w: the database has format %d and this program reads format %d", kv.ErrUnavailable, version, formatVersion)
	}
	_, id, err = c.ask("SELECT 0, id FROM store")
	return id, err
}

// ask returns the first row's number and, if there is a second column, its text.
func (c *conn) ask(query string) (n int64, text string, err error) {
	stmt, _, err := c.c.Prepare(query)
	if err != nil {
		return 0, "", err
	}
	defer stmt.Close()
	if stmt.Step() {
		n = stmt.ColumnInt64(0)
		if stmt.ColumnCount() > 1 {
			text = stmt.ColumnText(1)
		}
	}
	return n, text, stmt.Err()
}

// statements lists what prepare prepares.
func (c *conn) statements() map[**sqlite3.Stmt]string {
	return map[**sqlite3.Stmt]string{
		&c.begin:    "BEGIN IMMEDIATE",
		&c.commit:   "COMMIT",
		&c.rollback: "ROLLBACK",
		&c.find:     "SELECT id, expires, size FROM entries WHERE key = ?",
		&c.value:    "SELECT id, expires, size, value FROM entries WHERE key = ?",
		&c.part:     "SELECT value FROM parts WHERE id = ?",
		&c.insert:   "INSERT INTO entries (key, expires, size, value) VALUES (?, ?, ?, ?)",
		&c.update:   "UPDATE entries SET expires = ?, size = ?, value = ? WHERE id = ?",
		&c.expire:   "UPDATE entries SET expires = ? WHERE id = ?",
		&c.remove:   "DELETE FROM entries WHERE id = ?",
		&c.addPart:  "INSERT INTO parts (id, value) VALUES (?, ?)",
		&c.cutPart:  "DELETE FROM parts WHERE id BETWEEN ? AND ?",
		&c.list:     "SELECT key, expires FROM entries WHERE key >= ? AND key < ? ORDER BY key",
		&c.listAll:  "SELECT key, expires FROM entries WHERE key >= ? ORDER BY key",
		&c.expired:  "SELECT id, size FROM entries WHERE expires > 0 AND expires <= ? LIMIT ?",
		&c.vacuum:   fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages),
		&c.free:     "PRAGMA freelist_count",
		&c.count:    "PRAGMA page_count",
	}
}

func (c *conn) prepare() (err error) {
	for stmt, query := range c.statements() {
		if *stmt, _, err = c.c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) close() error {
	for stmt := range c.statements() {
		if *stmt != nil {
			_ = (*stmt).Close()
		}
	}
	return c.c.Close()
}

// number returns the only value of a statement's only row.
func number(stmt *sqlite3.Stmt) (n int64, err error) {
	if stmt.Step() {
		n = stmt.ColumnInt64(0)
	}
	err = stmt.Err()
	_ = stmt.Reset()
	return n, err
}

// bind resets a statement and binds its parameters: int64 and []byte.
func bind(stmt *sqlite3.Stmt, args ...any) error {
	for i, arg := range args {
		var err error
		switch a := arg.(type) {
		case int64:
			err = stmt.BindInt64(i+1, a)
		case []byte:
			if a == nil {
				a = []byte{} // nil would be NULL
			}
			err = stmt.BindBlob(i+1, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run executes a statement that returns no rows.
func run(stmt *sqlite3.Stmt, args ...any) error {
	if err := bind(stmt, args...); err != nil {
		return err
	}
	err := stmt.Exec()
	_ = stmt.ClearBindings() // frees the value's copy
	return err
}
