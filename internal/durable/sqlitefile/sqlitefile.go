// Package sqlitefile opens SQLite databases for the embedded stores.
//
// Every page of a database has a checksum, which is verified when the page is read: see IsDamage. A database of another
// format version does not open. A database is never mapped into memory.
package sqlitefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
)

const (
	// PageSize is the size of a page in bytes.
	PageSize = 4096
	// busyTimeout is how long a statement waits for the locks of other connections.
	busyTimeout = 10 * time.Second
)

// Schema is how a database of a package is made.
type Schema struct {
	Version int    // its format
	Layout  string // pragmas of a new database
	Tables  string // statements that make its tables, in one transaction
	Pragmas string // pragmas of each connection
}

// Conn is a connection with its prepared statements. One goroutine uses it at a time.
type Conn struct {
	*sqlite3.Conn
	Info       fs.FileInfo // of the file when it was opened
	statements map[string]*sqlite3.Stmt
}

// Open opens a connection. It makes a file that is missing, which only its owner can read, and the tables of an empty one.
// ctx interrupts opening only.
func Open(ctx context.Context, path string, schema Schema) (*Conn, error) {
	return open(ctx, path, "", schema)
}

// open opens a connection that has the index of its log in a file; empty means beside the database.
func open(ctx context.Context, path, index string, schema Schema) (_ *Conn, err error) {
	if _, err := os.Stat(path + readySuffix); err == nil {
		return nil, fmt.Errorf("its repair was interrupted: %w", sqlite3.CORRUPT)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would use another mode
	if err != nil {
		return nil, err
	}
	c := &Conn{statements: map[string]*sqlite3.Stmt{}}
	c.Info, err = f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	query := url.Values{"modeof": {path}} // of the journal
	if index != "" {
		query.Set("vfs", vfsName)
		query.Set(indexParameter, index)
	}
	address := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: strings.ReplaceAll(query.Encode(), "+", "%20")}
	if c.Conn, err = sqlite3.OpenContext(ctx, address.String()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if _, err := c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil { // the log stays as it is, whatever fails
		return nil, err
	}
	c.SetInterrupt(ctx)
	if err := c.BusyTimeout(busyTimeout); err != nil {
		return nil, err
	}
	if _, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, 8); err != nil { // a new database has checksums
		return nil, err
	}
	version := int64(0)
	err = c.Transact("BEGIN", func() (err error) { // no other process writes in the meantime
		if version, err = c.Int("PRAGMA user_version"); err == nil {
			err = checkSize(path)
		}
		return err
	})
	if err == nil && version == 0 {
		version = int64(schema.Version)
		err = c.Exec(fmt.Sprintf("%s; BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", schema.Layout, schema.Tables, version))
	}
	if err == nil && version != int64(schema.Version) {
		err = fmt.Errorf("it has format %d and this program reads format %d", version, schema.Version)
	}
	if err == nil { // after the first page is there: it decides whether pages have checksums, in a log as well
		err = c.Exec(schema.Pragmas)
	}
	if err != nil {
		return nil, err
	}
	c.SetInterrupt(context.Background())
	return c, nil
}

// checkSize refuses a file that ends with a part of a page: its checksum would not be verified.
func checkSize(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size()%PageSize != 0 {
		err = sqlite3.CORRUPT
	}
	return err
}

// Close closes the connection. A transaction ends without its changes. The log stays. c can be nil.
func (c *Conn) Close() error {
	if c == nil {
		return nil
	}
	for _, stmt := range c.statements {
		_ = stmt.Close()
	}
	return c.Conn.Close()
}

// Rows executes a statement, which is prepared once, and returns its rows, which are valid until the next. An argument is
// an int64, a string for TEXT, or a []byte, of which nil is empty as well.
func (c *Conn) Rows(query string, args ...any) iter.Seq2[*sqlite3.Stmt, error] {
	return func(yield func(*sqlite3.Stmt, error) bool) {
		stmt, err := c.prepare(query)
		for i := 0; i < len(args) && err == nil; i++ {
			switch arg := args[i].(type) {
			case int64:
				err = stmt.BindInt64(i+1, arg)
			case string:
				err = stmt.BindText(i+1, arg)
			case []byte:
				if arg == nil {
					arg = []byte{}
				}
				err = stmt.BindBlob(i+1, arg)
			}
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() {
			_ = stmt.Reset()
			_ = stmt.ClearBindings() // frees the copies of large values
		}()
		for stmt.Step() {
			if !yield(stmt, nil) {
				return
			}
		}
		if err := stmt.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func (c *Conn) prepare(query string) (stmt *sqlite3.Stmt, err error) {
	if stmt = c.statements[query]; stmt == nil {
		if stmt, _, err = c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT); err == nil {
			c.statements[query] = stmt
		}
	}
	return stmt, err
}

// Run executes a statement and ignores its rows.
func (c *Conn) Run(query string, args ...any) error {
	for _, err := range c.Rows(query, args...) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Int returns the number in the last row of a statement, 0 if it has no rows.
func (c *Conn) Int(query string, args ...any) (n int64, err error) {
	for row, err := range c.Rows(query, args...) {
		if err != nil {
			return 0, err
		}
		n = row.ColumnInt64(0)
	}
	return n, nil
}

// Transact calls do in a transaction that begins with a statement. An error of do ends it without its changes.
func (c *Conn) Transact(begin string, do func() error) (err error) {
	if err := c.Run(begin); err != nil {
		return err
	}
	if err = do(); err == nil && !c.GetAutocommit() { // an error of reading that do handled ends the transaction
		err = c.Run("COMMIT")
	}
	if err != nil && !c.GetAutocommit() {
		c.SetInterrupt(context.Background())
		err = errors.Join(err, c.Run("ROLLBACK"))
	}
	return err
}

// IsDamage reports whether an error says that the file is damaged.
func IsDamage(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR_DATA)
}

// IsFull reports whether an error says that the disk of a database's directory is full.
func IsFull(err error, dir string) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, sqlite3.IOERR) && durable.NearlyFull(dir)
}
