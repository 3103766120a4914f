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

// Progress is called from time to time with the number of visited entries and the total number, which is 0 if it is
// unknown. A nil Progress is not called.
type Progress func(done, total int)

const (
	copyBatch     = 500
	keyIndexQuery = "SELECT key, id FROM entries INDEXED BY sqlite_autoindex_entries_1"
)

// Check reads the whole store in dir and reports damage. It changes no entry. If the write-ahead log is damaged, it
// does not open the database, because SQLite would then drop the log behind the damage and leave no trace of it. It
// returns ErrInUse while a process has the store open.
func Check(ctx context.Context, dir string, progress Progress) (report sqlitefile.Report, err error) {
	err = withExclusiveAccess(dir, &report, func(index *sqlitefile.Index) error {
		if len(report.Damage) > 0 {
			return nil
		}
		c, err := index.Open(ctx, schema)
		if err == nil {
			err = (&copier{report: &report, source: &conn{Conn: c}, progress: progress}).run(ctx)
		}
		if sqlitefile.IsDamage(err) {
			report.AddDamage(err)
			err = nil
		}
		return errors.Join(err, c.Close())
	})
	return report, err
}

// Repair replaces the database in dir with a new one that has all readable entries. The damaged file stays beside it.
// Repair returns ErrInUse while a process has the store open. After a kill, the next call continues.
func Repair(ctx context.Context, dir string, progress Progress) (report sqlitefile.Report, err error) {
	err = withExclusiveAccess(dir, &report, func(index *sqlitefile.Index) error {
		open := func() (*sqlitefile.Conn, error) { return index.Open(ctx, schema) }
		return sqlitefile.Salvage(ctx, &report, schema, open, func(source, target *sqlitefile.Conn) error {
			return (&copier{report: &report, source: &conn{Conn: source}, target: &conn{Conn: target}, progress: progress}).run(ctx)
		})
	})
	return report, err
}

// withExclusiveAccess calls do with the index of the database, while no other process can open the directory.
func withExclusiveAccess(dir string, report *sqlitefile.Report, do func(index *sqlitefile.Index) error) error {
	report.File, report.Damage = filepath.Join(dir, fileName), []string{}
	if _, err := os.Stat(report.File); err != nil {
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
	err = sqlitefile.CheckLog(report.File)
	if sqlitefile.IsDamage(err) {
		report.AddDamage(fmt.Errorf("the last changes, including deletions, are lost: %w", err))
		err = nil
	}
	if err == nil {
		var index *sqlitefile.Index
		if index, err = sqlitefile.NewIndex(report.File, slog.New(slog.DiscardHandler)); err == nil {
			err = errors.Join(do(index), index.Close())
		}
	}
	if errors.Is(err, sqlite3.BUSY) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("sqlitekv: %s: %w", report.File, err)
	}
	return nil
}

// copier visits all entries of a database, and copies them if it has a target.
type copier struct {
	report         *sqlitefile.Report
	source, target *conn
	progress       Progress
	total          int
	bytesByOwner   map[string]int64 // size of the entries of each owner in bytes
	pending        int              // number of copied entries that are not committed yet
	blobs          int64            // number of blobs in the target
}

func (c *copier) run(ctx context.Context) error {
	c.bytesByOwner = map[string]int64{}
	if n, err := c.source.Int("SELECT count(*) FROM entries"); err == nil {
		c.total = int(n)
	}
	if c.target != nil {
		if err := c.target.Run(beginImmediate); err != nil {
			return err
		}
	}
	for id, err := range c.source.IDs(ctx, "entries", c.report.AddDamage) {
		if err == nil {
			err = c.visit(id)
		}
		if err != nil {
			return err
		}
	}
	if err := c.visitMissed(); err != nil {
		return err
	}
	if err := c.compareUsage(); err != nil {
		return err
	}
	if err := c.source.checkBlobs(); err != nil {
		if err := c.recordDamage(err); err != nil {
			return err
		}
	}
	if err := c.report.CheckIntegrity(c.source.Conn); err != nil {
		return err
	}
	storedClock, err := c.source.Int("SELECT clock FROM store")
	if err == nil {
		err = checkTime(storedClock)
	}
	if err != nil { // the new database then starts with the system's time
		return errors.Join(c.recordDamage(err), c.commit())
	}
	if c.target == nil {
		return nil
	}
	if err := c.target.Run("UPDATE store SET clock = ?", storedClock); err != nil {
		return err
	}
	return c.commit()
}

// commit commits the copied entries, if there is a target.
func (c *copier) commit() error {
	if c.target == nil {
		return nil
	}
	return c.target.Run("COMMIT")
}

// visit reads an entry and copies it. It reports damage, and returns only other errors.
func (c *copier) visit(id int64) error {
	key, r, value, err := c.source.readEntry(id)
	if err != nil {
		return c.recordDamage(err)
	}
	if c.target != nil {
		if err := c.copyEntry(key, r.expires, value); err != nil {
			return err
		}
	}
	if owner := kv.OwnerPrefixOf(key); owner != "" {
		c.bytesByOwner[owner] += int64(len(key) + len(value))
	}
	if c.report.Read++; c.progress != nil && (c.report.Read%copyBatch == 0 || c.report.Read == c.total) {
		c.progress(c.report.Read, c.total)
	}
	return nil
}

// recordDamage adds damage to the report, and returns any other error.
func (c *copier) recordDamage(err error) error {
	if !isDamage(err) {
		return err
	}
	c.report.AddDamage(err)
	return nil
}

// visitMissed counts the entries that only the index of keys lists. If there is a target, it visits those that the walk
// by id missed behind damage.
func (c *copier) visitMissed() error {
	listed := 0
	err := c.source.forEach(keyIndexQuery, func(*sqlite3.Stmt) { listed++ })
	if err != nil {
		return c.recordDamage(err)
	}
	c.report.Lost = max(0, listed-c.report.Read)
	if c.report.Lost > 0 && len(c.report.Damage) == 0 { // the walk by id does not find impossible ids
		c.report.AddDamage(errRow)
	}
	if c.report.Lost == 0 || c.target == nil {
		return nil
	}
	var ids []int64
	err = c.source.forEach(keyIndexQuery, func(row *sqlite3.Stmt) {
		if r, err := c.target.lookup(string(row.ColumnRawBlob(0))); err == nil && r.id == 0 {
			ids = append(ids, row.ColumnInt64(1))
		}
	})
	if err != nil {
		return err
	}
	before := c.report.Read
	for _, id := range ids {
		if err := c.visit(id); err != nil {
			return err
		}
	}
	c.report.Lost -= c.report.Read - before
	return nil
}

// compareUsage compares the stored usage of all owners with the sizes of their entries. It does nothing if there is
// other damage, because entries may then be missing from the sizes.
func (c *copier) compareUsage() error {
	if len(c.report.Damage) > 0 {
		return nil
	}
	wrong := 0
	err := c.source.forEach("SELECT owner, bytes FROM usage", func(row *sqlite3.Stmt) {
		owner := string(row.ColumnRawBlob(0))
		if c.bytesByOwner[owner] != row.ColumnInt64(1) {
			wrong++
		}
		delete(c.bytesByOwner, owner)
	})
	if err != nil {
		return c.recordDamage(err)
	}
	if wrong += len(c.bytesByOwner); wrong > 0 {
		c.report.AddDamage(fmt.Errorf("%w: the counted bytes of %d owners do not match their entries", kv.ErrDamaged, wrong))
	}
	return nil
}

// copyEntry copies an entry to the target, unless it is already there.
func (c *copier) copyEntry(key string, expires int64, value []byte) error {
	r, err := c.target.lookup(key)
	if err == nil && r.id == 0 {
		err = c.target.addUsage(key, int64(len(key)+len(value)), 0)
	}
	if err == nil && r.id == 0 {
		err = c.putEntry(key, expires, value)
	}
	if c.pending++; err == nil && c.pending >= copyBatch {
		c.pending = 0
		if err = c.target.Run("COMMIT"); err == nil {
			err = c.target.Run(beginImmediate)
		}
	}
	return err
}

// putEntry inserts an entry that is not in the target.
func (c *copier) putEntry(key string, expires int64, value []byte) error {
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
