// Package sqlitefile opens the SQLite databases of the embedded stores, checks them and repairs them.
//
// Every page of a database has a checksum, which is verified whenever the page is read (see IsDamage). A database with
// another format version does not open. No database file is mapped into memory.
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
	// PageSize is the size of a database page in bytes.
	PageSize = 4096
	// busyTimeout is how long a statement waits for locks of other connections.
	busyTimeout = 10 * time.Second
)

// Schema describes the databases of a package.
type Schema struct {
	Version int    // version of the format
	Layout  string // pragmas for a new database
	Tables  string // statements that create the tables, in one transaction
	Pragmas string // pragmas for each connection
}

// Conn is a connection with its prepared statements. One goroutine uses it at a time.
type Conn struct {
	*sqlite3.Conn
	Info       fs.FileInfo // identity of the file when it was opened
	statements map[string]*sqlite3.Stmt
}

// Open opens a connection. It creates a missing file, readable by its owner only, and the tables of an empty one. ctx
// only interrupts opening. The caller must call Close.
func Open(ctx context.Context, path string, schema Schema) (*Conn, error) {
	return open(ctx, path, "", schema)
}

// open opens a connection whose index is at a path. An empty index means beside the database.
func open(ctx context.Context, path, index string, schema Schema) (_ *Conn, err error) {
	if _, err := os.Stat(path + readySuffix); err == nil {
		return nil, fmt.Errorf("a repair was interrupted, run it again: %w", sqlite3.CORRUPT)
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
	query := url.Values{"modeof": {path}} // mode of the journal
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
	if _, err := c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil { // keep the log on close: a failure of the checkpoint at close could lose it
		return nil, err
	}
	c.SetInterrupt(ctx)
	if err := c.BusyTimeout(busyTimeout); err != nil {
		return nil, err
	}
	if _, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, 8); err != nil { // reserves space for the checksums in pages of a new database
		return nil, err
	}
	version := int64(0)
	err = c.Transact("BEGIN", func() (err error) { // one transaction, because another process must not write between the two checks
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
		err = fmt.Errorf("the database has format %d, this program reads format %d", version, schema.Version)
	}
	if err == nil { // only now, because the first page decides whether pages have checksums, those in the log included
		err = c.Exec(schema.Pragmas)
	}
	if err != nil {
		return nil, err
	}
	c.SetInterrupt(context.Background())
	return c, nil
}

// checkSize refuses a file whose last page is cut short, because SQLite would not verify the checksum of that page.
func checkSize(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size()%PageSize != 0 {
		err = sqlite3.CORRUPT
	}
	return err
}

// Close closes the connection. It rolls back an open transaction and keeps the log. A nil Conn does nothing.
func (c *Conn) Close() error {
	if c == nil {
		return nil
	}
	for _, stmt := range c.statements {
		_ = stmt.Close()
	}
	return c.Conn.Close()
}

// Rows prepares a statement once, executes it, and yields its rows. A row is valid until the next one. An argument is
// an int64, a string for TEXT, or a []byte, where nil means the empty blob.
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

// Int returns the first column of the last row of a statement, or 0 if it has no rows.
func (c *Conn) Int(query string, args ...any) (n int64, err error) {
	for row, err := range c.Rows(query, args...) {
		if err != nil {
			return 0, err
		}
		n = row.ColumnInt64(0)
	}
	return n, nil
}

// Transact runs do in a transaction that the statement begin starts. If do returns an error, it rolls the transaction
// back.
func (c *Conn) Transact(begin string, do func() error) (err error) {
	if err := c.Run(begin); err != nil {
		return err
	}
	if err = do(); err == nil && !c.GetAutocommit() { // SQLite ends the transaction on some read errors, even if do handled them
		err = c.Run("COMMIT")
	}
	if err != nil && !c.GetAutocommit() {
		c.SetInterrupt(context.Background())
		err = errors.Join(err, c.Run("ROLLBACK"))
	}
	return err
}

// IsDamage reports whether an error is caused by damage of the file.
func IsDamage(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR_DATA)
}

// IsFull reports whether an error is caused by a full disk. dir is the directory of the database.
func IsFull(err error, dir string) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, sqlite3.IOERR) && durable.NearlyFull(dir)
}
