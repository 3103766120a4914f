package sqlitekeys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
)

// Check reads all documents of the database in dir and reports damage. It changes nothing.
func Check(ctx context.Context, dir string) (found sqlitefile.Report, err error) {
	path := begin(dir, &found)
	if _, err := os.Stat(path); err != nil {
		return found, err
	}
	c, err := sqlitefile.Open(ctx, path, schema)
	if err == nil {
		err = (&copier{found: &found, source: c}).run(ctx)
	}
	if sqlitefile.IsDamage(err) {
		found.AddDamage(err)
		err = nil
	}
	return found, errors.Join(err, c.Close())
}

// Repair replaces the database in dir by a new one with all readable documents, and keeps the damaged one beside it.
// No process may use the database. The new database has a new feed, so that servers reread everything.
func Repair(ctx context.Context, dir string) (found sqlitefile.Report, err error) {
	path := begin(dir, &found)
	if _, err := os.Stat(path); err != nil {
		return found, err
	}
	open := func() (*sqlitefile.Conn, error) { return sqlitefile.Open(ctx, path, schema) }
	err = sqlitefile.Salvage(ctx, &found, schema, open, func(source, target *sqlitefile.Conn) error {
		return target.Transact(write, func() error { return (&copier{found: &found, source: source, target: target}).run(ctx) })
	})
	return found, err
}

func begin(dir string, found *sqlitefile.Report) (path string) {
	found.File, found.Damage = filepath.Join(dir, fileName), []string{}
	return found.File
}

// copier reads all documents, and copies them if there is a target.
type copier struct {
	found          *sqlitefile.Report
	source, target *sqlitefile.Conn
	read           map[string]bool // titles of the documents that were read
}

func (c *copier) run(ctx context.Context) error {
	c.read = map[string]bool{}
	for id, err := range c.source.IDs(ctx, "documents", c.found.AddDamage) {
		if err == nil {
			err = c.visit(id)
		}
		if err != nil {
			return err
		}
	}
	if err := c.readListed(); err != nil {
		return err
	}
	slices.Sort(c.found.Names)
	if err := checkFeed(c.source); sqlitefile.IsDamage(err) {
		c.found.AddDamage(err)
	} else if err != nil {
		return err
	}
	return c.found.CheckIntegrity(c.source)
}

// row is a row of the table of documents.
type row struct {
	kind          string
	name, content []byte
	due           int64
}

// rowOf returns a document by its row id. Its kind is empty if it does not exist.
func rowOf(c *sqlitefile.Conn, id int64) (r row, err error) {
	for found, err := range c.Rows("SELECT kind, name, due, content FROM documents WHERE id = ?", id) {
		if err != nil {
			return r, err
		}
		r = row{found.ColumnText(0), found.ColumnBlob(1, []byte{}), found.ColumnBlob(3, []byte{}), found.ColumnInt64(2)}
	}
	return r, nil
}

// visit reads a document and copies it. It records damage in found, and returns other errors.
func (c *copier) visit(id int64) error {
	r, err := rowOf(c.source, id)
	switch {
	case sqlitefile.IsDamage(err):
		c.found.AddDamage(err)
		return nil
	case err != nil:
		return err
	case r.kind == "" || c.read[title(r.kind, r.name)]:
		return nil
	}
	if c.target != nil {
		if err := change(c.target, keystore.Kind(r.kind), string(r.name), r.content, r.due); err != nil {
			return err
		}
	}
	c.read[title(r.kind, r.name)] = true
	c.found.Read++
	return nil
}

// readListed reads the documents that are in the index of names and that the scan of the table did not find. It
// records the names of those that are lost.
func (c *copier) readListed() error {
	var missing []int64
	titles := map[int64]string{}
	for row, err := range c.source.Rows("SELECT id, kind, name FROM documents INDEXED BY names") {
		if sqlitefile.IsDamage(err) {
			c.found.AddDamage(fmt.Errorf("the list of names: documents can be lost that are not named here: %w", err))
			break
		}
		if err != nil {
			return err
		}
		if t := title(row.ColumnText(1), row.ColumnRawBlob(2)); !c.read[t] {
			missing, titles[row.ColumnInt64(0)] = append(missing, row.ColumnInt64(0)), t
		}
	}
	for _, id := range missing {
		if err := c.visit(id); err != nil {
			return err
		}
		if t := titles[id]; !c.read[t] {
			c.found.Lost++
			c.found.Names = append(c.found.Names, t)
		}
	}
	return nil
}

// title describes a document for messages.
func title(kind string, name []byte) string { return fmt.Sprintf("%s %q", kind, name) }
