package sqlitekv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/kv"
)

const (
	reservePiece = 256 << 10 // released for deletions if other programs have filled the disk

	countFree       = "PRAGMA freelist_count"
	pageSize        = sqlitefile.PageSize
	checkpointPages = 1000 // pages of the log from which maintenance moves it into the database at the next tick
	restartPages    = 2000 // pages from which maintenance lets writes wait until the whole log is moved, so that it restarts
	maxLogPages     = 4000 // pages from which the next write moves the log
	maxPasses       = 8    // attempts of maintenance to move the log while writes go on
	idleTicks       = 5    // ticks after which a shorter log is moved, too

	maintainEvery  = time.Second
	expiredBatch   = 100
	vacuumPages    = 100 // pages returned to the file system in one transaction
	vacuumSteps    = 10  // transactions in one tick
	vacuumMinPages = 250 // the file is shortened if at least so many pages are free,
	vacuumMinShare = 4   // and if at least one page in so many is free
)

// MinFreeSpace is the free space of the disk in bytes that the store needs for its log.
const MinFreeSpace = 32 << 20

// space watches the free space of the store's disk, and keeps a reserve of it.
type space struct {
	dir     string
	reserve *durable.Reserve
	minFree int64 // free space in bytes that values of tenants leave to other programs
}

func (p *space) open(dir string) {
	p.dir, p.minFree = dir, max(p.minFree, MinFreeSpace)
	p.reserve = durable.NewReserve(dir, p.minFree+MinFreeSpace)
	p.reserve.Refill()
}

func (p *space) free() (int64, error) { return durable.FreeSpace(p.dir) }

// releaseReserve releases a piece of the reserve, and reports whether there was one.
func (p *space) releaseReserve() bool { return p.reserve.Release(reservePiece) }

// SpaceNeeded returns how many bytes of a disk must be free to write a value of n bytes and leave minFree bytes to
// others. A value is written twice: to the log and then to the database.
func SpaceNeeded(n, minFree int64) int64 { return minFree + 2*n }

// canAdd reports whether n bytes can be added and minFree bytes stay free. The disk must have free space, or the
// database must have pages that deletions freed; using these takes nothing from other programs.
func (p *space) canAdd(c *conn, n, minFree int64) bool {
	free, err := p.free()
	if err != nil || free >= SpaceNeeded(n, minFree) {
		return true
	}
	if free < MinFreeSpace/2+n {
		return false
	}
	pages, err := c.Int(countFree)
	return err == nil && pages*pageSize > n+n/8+16*pageSize
}

// diskFullFor describes for which keys the disk is full.
type diskFullFor uint8

const (
	fullForNone    diskFullFor = iota
	fullForTenants             // keys of tenants, which must leave minFree bytes to others
	fullForAll
)

func (f diskFullFor) refuses(w *kv.Write) bool {
	return w.Op == kv.Put && (f == fullForAll || f == fullForTenants && kv.OwnerPrefixOf(w.Key) != "")
}

// check returns for which keys the disk is too full to add n bytes.
func (p *space) check(c *conn, n int64) diskFullFor {
	switch {
	case n == 0 || p.canAdd(c, n, p.minFree):
		return fullForNone
	case p.canAdd(c, n, MinFreeSpace):
		return fullForTenants
	}
	return fullForAll
}

// maintain removes expired entries and discarded blobs, moves the log into the database, shortens the file, and refills
// the reserve, once a second until ctx ends.
func (s *Store) maintain(ctx context.Context) {
	defer close(s.maintenanceDone)
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	failing := false
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.maintainOnce(ctx, n%idleTicks == 0)
		if err != nil && !failing && ctx.Err() == nil {
			s.logger.Warn("the embedded store's maintenance failed: it is retried every second", "error", err.Error())
		}
		failing = err != nil
		s.space.reserve.Refill()
	}
}

// maintainOnce does the work of one tick in short transactions. It moves the log into the database if the log is long,
// or if anyLog is set.
func (s *Store) maintainOnce(ctx context.Context, anyLog bool) error {
	expired := s.removeExpired(ctx)
	swept := s.removeDiscarded(ctx)
	shrunk, err := s.shrink(ctx)
	if pages := s.logPages.Load(); pages > checkpointPages || (anyLog || shrunk) && pages > 0 {
		_ = s.withWriter(ctx, s.storeClock) // if the disk is full, the database keeps the earlier time
		s.checkpointLog(ctx)
	}
	return errors.Join(expired, swept, err)
}

// removeExpired deletes all expired entries.
func (s *Store) removeExpired(ctx context.Context) error {
	var last row
	for more := true; more; {
		err := s.transact(ctx, "expire", 0, func(c *conn, _ diskFullFor) (err error) {
			from := last // the transaction may be tried again
			last, more, err = s.removeBatch(c, from)
			if err != nil {
				last = from
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeBatch deletes a batch of expired entries after last. It returns the last entry that it visited, and whether
// there may be more. It skips damaged entries, which Repair removes.
func (s *Store) removeBatch(c *conn, last row) (_ row, more bool, err error) {
	var rows []row
	var keys []string
	visited := 0
	query := "SELECT " + rowColumns + `, key FROM entries
WHERE expires > 0 AND expires <= ? AND (expires, id) > (?, ?) ORDER BY expires, id LIMIT ?`
	err = c.forEach(query, func(stmt *sqlite3.Stmt) {
		visited++
		last = row{id: stmt.ColumnInt64(0), expires: stmt.ColumnInt64(1)}
		if r, err := readRow(stmt); err != nil {
			_ = s.mapError("expire", err)
		} else {
			rows, keys = append(rows, r), append(keys, string(stmt.ColumnRawBlob(5)))
		}
	}, s.clock.now(), last.expires, last.id, int64(expiredBatch))
	if err != nil {
		return last, false, err
	}
	for i := range rows {
		switch err := c.delete(keys[i], &rows[i]); {
		case errors.Is(err, kv.ErrDamaged): // nothing of this entry was deleted
			_ = s.mapError("expire", err)
		case err != nil:
			return last, false, err
		case rows[i].blob != 0:
			s.abandoned.add(kv.OwnerPrefixOf(keys[i]), rows[i].blob)
		}
	}
	return last, visited == expiredBatch, nil
}

// shrink returns free pages to the file system if there are many, and reports whether it did. The next checkpoint
// shortens the file.
func (s *Store) shrink(ctx context.Context) (shrunk bool, err error) {
	for range vacuumSteps {
		many := false
		err = s.transact(ctx, "shrink", 0, func(c *conn, _ diskFullFor) (err error) {
			if many, err = c.hasManyFreePages(); err != nil || !many {
				return err
			}
			return c.Run(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages)) // the statement returns a row for each freed page
		})
		if err != nil || !many {
			break
		}
		shrunk = true
	}
	return shrunk, err
}

// hasManyFreePages reports whether so many pages are free that shortening the file is worthwhile.
func (c *conn) hasManyFreePages() (bool, error) {
	free, err := c.Int(countFree)
	if err != nil || free < vacuumMinPages {
		return false, err
	}
	count, err := c.Int("PRAGMA page_count")
	return free*vacuumMinShare >= count, err
}

// checkpointLog moves the log into the database while writes continue, and repeats that for the pages written in the
// meantime, which become fewer each time. When nothing is left to move, the next write restarts the log from its
// beginning. If the log is still long after maxPasses attempts, writes wait until all of it is moved.
func (s *Store) checkpointLog(ctx context.Context) {
	for n := 0; n < maxPasses && s.checkpoint(s.checkpointer, passive); n++ {
	}
	if s.logPages.Load() > restartPages {
		_ = s.withWriter(ctx, func(c *conn) error { s.checkpoint(c, restart); return nil })
	}
}

// Modes of a checkpoint.
const (
	passive = sqlite3.CHECKPOINT_PASSIVE // moves the pages that no reader needs; readers and writers continue
	restart = sqlite3.CHECKPOINT_RESTART // moves all pages, so that the log restarts; readers continue, and it waits for those that use the log
)

// checkpoint moves the log into the database and syncs both. It reports whether there is more to move, because a reader
// needed the log or a write was made.
func (s *Store) checkpoint(c *conn, mode sqlite3.CheckpointMode) (more bool) {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	pages := s.logPages.Load()
	total, moved, err := c.WALCheckpoint("main", mode)
	if err != nil {
		return false
	}
	return total != moved || !s.logPages.CompareAndSwap(pages, 0)
}
