package sqlitekv

import (
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/kv"
)

const (
	reservePiece = 256 << 10 // released for deletions on a disk that others have filled

	countFree   = "PRAGMA freelist_count"
	pageSize    = sqlitefile.PageSize
	logPages    = 1000 // from then on the log is moved into the database by the next tick
	maxLogPages = 4000 // and from then on by the next write
	idleTicks   = 5    // a shorter log is moved after so many ticks

	checkpointRestart = sqlite3.CHECKPOINT_RESTART

	maintainEvery = time.Second
	expiredBatch  = 500
	vacuumPages   = 1000 // returned to the file system at a time
	vacuumFrom    = 4    // a file is shortened if more than one in so many pages is free
)

// MinFree is the least free space of the disk, in bytes, that the store needs: for its log, and for the log's index.
const MinFree = 32 << 20

// space watches the free space of the directory's disk, and keeps a reserve of it.
type space struct {
	dir     string
	reserve *durable.Reserve
	least   int64 // free space that values leave to others
}

func (p *space) open(dir string) {
	p.dir, p.least = dir, max(p.least, MinFree)
	p.reserve = durable.NewReserve(dir, p.least+MinFree)
	p.reserve.Refill()
}

func (p *space) free() (int64, error) { return durable.FreeSpace(p.dir) }

// spend releases a piece of the reserve, and reports whether there was one.
func (p *space) spend() bool { return p.reserve.Release(reservePiece) }

// Needs returns how many bytes of a disk must be free for a value of n bytes that leaves least to others: it is written to the log, and
// then to the database.
func Needs(n, least int64) int64 { return least + 2*n }

// hasRoom reports whether n bytes can be added: there is free space, or pages in the database that deletions freed, which
// take nothing from others. least is the free space that must be left.
func (p *space) hasRoom(c *conn, n, least int64) bool {
	free, err := p.free()
	if err != nil || free >= Needs(n, least) {
		return true
	}
	if free < MinFree/2+n {
		return false
	}
	pages, err := c.Int(countFree)
	return err == nil && pages*pageSize > n+n/8+16*pageSize
}

// maintain removes expired entries, moves the log into the database, shortens the file and keeps the reserve.
func (s *Store) maintain() {
	defer close(s.done)
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	failing := false
	for n := 1; ; n++ {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		err := s.tidy(n%idleTicks == 0)
		if err != nil && !failing {
			s.logger.Warn("the embedded store's maintenance failed, and is tried again each second", "error", err.Error())
		}
		failing = err != nil
		s.space.reserve.Refill()
	}
}

// tidy does the work of one tick, in short transactions. It moves a long log into the database, or any log.
func (s *Store) tidy(anyLog bool) error {
	var errs []error
	for {
		select {
		case <-s.stop:
			return nil
		case c := <-s.writer:
			n, err := s.removeExpired(c)
			shrunk := false
			if err == nil && n == 0 {
				shrunk, err = s.shrink(c)
			}
			if pages := s.pages.Load(); pages > logPages || (anyLog || shrunk) && pages > 0 {
				_ = s.keepTime(c) // a full disk keeps an earlier one
				s.checkpoint(c)
			}
			s.writer <- c
			if errs = append(errs, err); err != nil || n < expiredBatch {
				return errors.Join(errs...)
			}
		}
	}
}

// removeExpired deletes a batch of expired entries and returns their number. It skips those that are damaged, which a repair
// removes.
func (s *Store) removeExpired(c *conn) (removed int, err error) {
	var rows []row
	var keys []string
	query := "SELECT " + rowColumns + ", key FROM entries WHERE expires > 0 AND expires <= ? LIMIT ?"
	err = c.each(query, func(found *sqlite3.Stmt) {
		if r, err := rowOf(found); err != nil {
			_ = s.failure("expire", err)
		} else {
			rows, keys = append(rows, r), append(keys, string(found.ColumnRawBlob(4)))
		}
	}, s.clock.now(), int64(expiredBatch))
	if err != nil {
		return 0, s.failure("expire", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	err = c.Transact(begin, func() error {
		removed = 0
		for i := range rows {
			switch err := c.delete(keys[i], &rows[i]); {
			case errors.Is(err, kv.ErrDamaged): // nothing of it was deleted
				_ = s.failure("expire", err)
			case err != nil:
				return err
			default:
				removed++
			}
		}
		return nil
	})
	if err != nil {
		if err = s.failure("expire", err); durable.Exhausted(s.dir) {
			s.space.spend() // the next tick has room to delete
		}
		return 0, err
	}
	return removed, nil
}

// shrink returns free pages to the file system if there are many, and reports whether it did. The next checkpoint
// shortens the file.
func (s *Store) shrink(c *conn) (bool, error) {
	free, err := c.Int(countFree)
	if err != nil {
		return false, s.failure("shrink", err)
	}
	count, err := c.Int("PRAGMA page_count")
	if err != nil {
		return false, s.failure("shrink", err)
	}
	if free < vacuumPages/4 || free*vacuumFrom < count {
		return false, nil
	}
	if err := c.Run(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages)); err != nil { // each row is a freed page
		return false, s.failure("shrink", err)
	}
	return true, nil
}

// checkpoint moves the log into the database, and both to the disk. Readers go on. Pages that a reader still needs are
// moved later. Only the writer's connection may do this: in go-sqlite3 0.37.0 a checkpoint panics if checksums are
// on and another connection wrote last.
func (s *Store) checkpoint(c *conn) {
	left, moved, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	if err == nil && left == moved {
		s.pages.Store(0)
	}
}
