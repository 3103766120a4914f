package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/kv"
)

// Progress is called after some entries with how many were visited, and how many there are: 0 if that is not known. It can be nil.
type Progress func(done, total int)

const (
	copyBatch = 500
	newKeys   = "SELECT key, id FROM entries INDEXED BY sqlite_autoindex_entries_1"
)

// Check reads all of the store in dir, and changes no entry. If the log is damaged, it reads no entry either: opening the
// database would drop what is behind the damage, and nothing would show it afterwards. It returns ErrInUse while a process has the
// store open.
func Check(ctx context.Context, dir string, progress Progress) (found sqlitefile.Report, err error) {
	err = alone(dir, &found, func(index *sqlitefile.Index) error {
		if len(found.Damage) > 0 {
			return nil
		}
		c, err := index.Open(ctx, schema)
		if err == nil {
			err = (&copier{found: &found, source: &conn{Conn: c}, progress: progress}).run(ctx)
		}
		if sqlitefile.IsDamage(err) {
			found.AddDamage(err)
			err = nil
		}
		return errors.Join(err, c.Close())
	})
	return found, err
}

// Repair replaces the database in dir by a new one with all readable entries. The damaged one stays beside it. It
// returns ErrInUse while a process has the store open.
func Repair(ctx context.Context, dir string, progress Progress) (found sqlitefile.Report, err error) {
	err = alone(dir, &found, func(index *sqlitefile.Index) error {
		open := func() (*sqlitefile.Conn, error) { return index.Open(ctx, schema) }
		return sqlitefile.Salvage(ctx, &found, schema, open, func(source, target *sqlitefile.Conn) error {
			return (&copier{found: &found, source: &conn{Conn: source}, target: &conn{Conn: target}, progress: progress}).run(ctx)
		})
	})
	return found, err
}

// alone calls do with the index of the database while no other process has the directory.
func alone(dir string, found *sqlitefile.Report, do func(index *sqlitefile.Index) error) error {
	found.File, found.Damage = filepath.Join(dir, fileName), []string{}
	if _, err := os.Stat(found.File); err != nil {
		return err
	}
	unlock, locked, err := durable.TryLock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	if !locked {
		return ErrInUse
	}
	defer unlock()
	err = sqlitefile.CheckLog(found.File)
	if sqlitefile.IsDamage(err) {
		found.AddDamage(fmt.Errorf("the last changes, deletions among them, are lost: %w", err))
		err = nil
	}
	if err == nil {
		var index *sqlitefile.Index
		if index, err = sqlitefile.NewIndex(found.File, slog.New(slog.DiscardHandler)); err == nil {
			err = errors.Join(do(index), index.Close())
		}
	}
	if errors.Is(err, sqlite3.BUSY) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("sqlitekv: %s: %w", found.File, err)
	}
	return nil
}

// copier visits all entries, and copies them if there is a target.
type copier struct {
	found          *sqlitefile.Report
	source, target *conn
	progress       Progress
	total          int
	sums           map[string]int64 // bytes of the entries of each owner
	pending        int              // copied entries that are not committed yet
	blobs          int64            // in the target
}

func (c *copier) run(ctx context.Context) error {
	c.sums = map[string]int64{}
	if n, err := c.source.Int("SELECT count(*) FROM entries"); err == nil {
		c.total = int(n)
	}
	if c.target != nil {
		if err := c.target.Run(begin); err != nil {
			return err
		}
	}
	for id, err := range c.source.IDs(ctx, "entries", c.found.AddDamage) {
		if err == nil {
			err = c.visit(id)
		}
		if err != nil {
			return err
		}
	}
	if err := c.listed(); err != nil {
		return err
	}
	if err := c.compareUsage(); err != nil {
		return err
	}
	if err := c.source.checkBlobs(); err != nil {
		if err := c.damage(err); err != nil {
			return err
		}
	}
	if err := c.found.CheckIntegrity(c.source.Conn); err != nil {
		return err
	}
	kept, err := c.source.Int("SELECT clock FROM store")
	if err == nil {
		err = checkTime(kept)
	}
	if err != nil { // the new database begins with the system's time
		return errors.Join(c.damage(err), c.end())
	}
	if c.target == nil {
		return nil
	}
	if err := c.target.Run("UPDATE store SET clock = ?", kept); err != nil {
		return err
	}
	return c.end()
}

// end commits what was copied, if there is a target.
func (c *copier) end() error {
	if c.target == nil {
		return nil
	}
	return c.target.Run("COMMIT")
}

// visit reads an entry, and copies it. Damage is found, and no error.
func (c *copier) visit(id int64) error {
	key, r, value, err := c.source.entry(id)
	if err != nil {
		return c.damage(err)
	}
	if c.target != nil {
		if err := c.copy(key, r.expires, value); err != nil {
			return err
		}
	}
	if owner := kv.OwnerPrefixOf(key); owner != "" {
		c.sums[owner] += int64(len(key) + len(value))
	}
	if c.found.Read++; c.progress != nil && (c.found.Read%copyBatch == 0 || c.found.Read == c.total) {
		c.progress(c.found.Read, c.total)
	}
	return nil
}

// damage adds damage, and returns every other error.
func (c *copier) damage(err error) error {
	if !isDamage(err) {
		return err
	}
	c.found.AddDamage(err)
	return nil
}

// listed counts the entries that only the index of keys still has. It visits those again that a walk behind damage missed.
func (c *copier) listed() error {
	listed := 0
	err := c.source.each(newKeys, func(*sqlite3.Stmt) { listed++ })
	if err != nil {
		return c.damage(err)
	}
	c.found.Lost = max(0, listed-c.found.Read)
	if c.found.Lost > 0 && len(c.found.Damage) == 0 { // the walk begins with id 0
		c.found.AddDamage(errRow)
	}
	if c.found.Lost == 0 || c.target == nil {
		return nil
	}
	var ids []int64
	err = c.source.each(newKeys, func(row *sqlite3.Stmt) {
		if r, err := c.target.lookup(string(row.ColumnRawBlob(0))); err == nil && r.id == 0 {
			ids = append(ids, row.ColumnInt64(1))
		}
	})
	if err != nil {
		return err
	}
	before := c.found.Read
	for _, id := range ids {
		if err := c.visit(id); err != nil {
			return err
		}
	}
	c.found.Lost -= c.found.Read - before
	return nil
}

// compareUsage compares the counted bytes of all owners with their entries. If there is other damage, entries may be missing from the sums.
func (c *copier) compareUsage() error {
	if len(c.found.Damage) > 0 {
		return nil
	}
	wrong := 0
	err := c.source.each("SELECT owner, bytes FROM usage", func(row *sqlite3.Stmt) {
		owner := string(row.ColumnRawBlob(0))
		if c.sums[owner] != row.ColumnInt64(1) {
			wrong++
		}
		delete(c.sums, owner)
	})
	if err != nil {
		return c.damage(err)
	}
	if wrong += len(c.sums); wrong > 0 {
		c.found.AddDamage(fmt.Errorf("%w: the counted bytes of %d owners are not those of their entries", kv.ErrDamaged, wrong))
	}
	return nil
}

// copy writes an entry into the target.
func (c *copier) copy(key string, expires int64, value []byte) error {
	r, err := c.target.lookup(key)
	if err == nil && r.id == 0 {
		err = c.target.account(key, int64(len(key)+len(value)), 0)
	}
	if err == nil && r.id == 0 {
		err = c.put(key, expires, value)
	}
	if c.pending++; err == nil && c.pending >= copyBatch {
		c.pending = 0
		if err = c.target.Run("COMMIT"); err == nil {
			err = c.target.Run(begin)
		}
	}
	return err
}

// put writes an entry, which the target does not have.
func (c *copier) put(key string, expires int64, value []byte) error {
	blob := int64(0)
	if len(value) > chunkSize {
		c.blobs++
		blob = c.blobs
		if err := c.target.putParts(blob, 1, value[chunkSize:]); err != nil {
			return err
		}
	}
	return c.target.put(key, value, blob, &row{}, expires)
}
