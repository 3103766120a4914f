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
	reservePiece = 256 << 10 // released for deletions on a disk that others have filled

	countFree   = "PRAGMA freelist_count"
	pageSize    = sqlitefile.PageSize
	logPages    = 1000 // from then on the log is moved into the database by the next tick
	fullPages   = 2000 // and from then on writes wait until all of it is moved, so that the log begins again
	maxLogPages = 4000 // and from then on the next write moves it
	maxPasses   = 8    // over the log beside writes
	idleTicks   = 5    // a shorter log is moved after so many ticks

	maintainEvery = time.Second
	expiredBatch  = 100
	vacuumPages   = 100 // returned to the file system at a time
	vacuumSteps   = 10  // in one tick
	vacuumLeast   = 250 // a file is shortened if so many pages are free
	vacuumFrom    = 4   // and more than one in so many
)

// MinFree is the least free space of the disk, in bytes, that the store needs for its log.
const MinFreeSpace = 32 << 20

// space watches the free space of the directory's disk, and keeps a reserve of it.
type space struct {
	dir     string
	reserve *durable.Reserve
	least   int64 // free space that values leave to others
}

func (p *space) open(dir string) {
	p.dir, p.least = dir, max(p.least, MinFreeSpace)
	p.reserve = durable.NewReserve(dir, p.least+MinFreeSpace)
	p.reserve.Refill()
}

func (p *space) free() (int64, error) { return durable.FreeSpace(p.dir) }

// spend releases a piece of the reserve, and reports whether there was one.
func (p *space) spend() bool { return p.reserve.Release(reservePiece) }

// Needs returns how many bytes of a disk must be free for a value of n bytes that leaves least to others: it is written to the log, and
// then to the database.
func SpaceNeeded(n, least int64) int64 { return least + 2*n }

// hasRoom reports whether n bytes can be added: there is free space, or pages in the database that deletions freed, which
// take nothing from others. least is the free space that must be left.
func (p *space) hasRoom(c *conn, n, least int64) bool {
	free, err := p.free()
	if err != nil || free >= SpaceNeeded(n, least) {
		return true
	}
	if free < MinFreeSpace/2+n {
		return false
	}
	pages, err := c.Int(countFree)
	return err == nil && pages*pageSize > n+n/8+16*pageSize
}

// fullFor says for which keys the disk is full.
type fullFor uint8

const (
	nobody fullFor = iota
	owners         // keys of tenants, which leave the minimum of free space to others
	everybody
)

func (f fullFor) refuses(w *kv.Write) bool {
	return w.Op == kv.Put && (f == everybody || f == owners && kv.OwnerPrefixOf(w.Key) != "")
}

// fullFor returns for which keys the disk is too full to add n bytes.
func (p *space) fullFor(c *conn, n int64) fullFor {
	switch {
	case n == 0 || p.hasRoom(c, n, p.least):
		return nobody
	case p.hasRoom(c, n, MinFreeSpace):
		return owners
	}
	return everybody
}

// maintain removes expired entries and discarded blobs, moves the log into the database, shortens the file and keeps the reserve.
func (s *Store) maintain(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	failing := false
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.tidy(ctx, n%idleTicks == 0)
		if err != nil && !failing && ctx.Err() == nil {
			s.logger.Warn("the embedded store's maintenance failed, and is tried again each second", "error", err.Error())
		}
		failing = err != nil
		s.space.reserve.Refill()
	}
}

// tidy does the work of one tick, in short transactions. It moves a long log into the database, or any log.
func (s *Store) tidy(ctx context.Context, anyLog bool) error {
	expired := s.removeExpired(ctx)
	swept := s.sweepAll(ctx)
	shrunk, err := s.shrink(ctx)
	if pages := s.pages.Load(); pages > logPages || (anyLog || shrunk) && pages > 0 {
		_ = s.turn(ctx, s.keepTime) // a full disk keeps an earlier one
		s.moveLog(ctx)
	}
	return errors.Join(expired, swept, err)
}

// removeExpired deletes the expired entries.
func (s *Store) removeExpired(ctx context.Context) error {
	var last row
	for more := true; more; {
		err := s.transact(ctx, "expire", 0, func(c *conn, _ fullFor) (err error) {
			from := last // again, if this is a second attempt
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

// removeBatch deletes expired entries behind the last one within a transaction. It returns the last one that it visited, and whether there may
// be more. It skips those that are damaged, which a repair removes.
func (s *Store) removeBatch(c *conn, last row) (_ row, more bool, err error) {
	var rows []row
	var keys []string
	visited := 0
	query := "SELECT " + rowColumns + `, key FROM entries
WHERE expires > 0 AND expires <= ? AND (expires, id) > (?, ?) ORDER BY expires, id LIMIT ?`
	err = c.each(query, func(found *sqlite3.Stmt) {
		visited++
		last = row{id: found.ColumnInt64(0), expires: found.ColumnInt64(1)}
		if r, err := rowOf(found); err != nil {
			_ = s.failure("expire", err)
		} else {
			rows, keys = append(rows, r), append(keys, string(found.ColumnRawBlob(5)))
		}
	}, s.clock.now(), last.expires, last.id, int64(expiredBatch))
	if err != nil {
		return last, false, err
	}
	for i := range rows {
		switch err := c.delete(keys[i], &rows[i]); {
		case errors.Is(err, kv.ErrDamaged): // nothing of it was deleted
			_ = s.failure("expire", err)
		case err != nil:
			return last, false, err
		case rows[i].blob != 0:
			s.left.add(kv.OwnerPrefixOf(keys[i]), rows[i].blob)
		}
	}
	return last, visited == expiredBatch, nil
}

// shrink returns free pages to the file system if there are many, and reports whether it did. The next checkpoint
// shortens the file.
func (s *Store) shrink(ctx context.Context) (shrunk bool, err error) {
	for range vacuumSteps {
		many := false
		err = s.transact(ctx, "shrink", 0, func(c *conn, _ fullFor) (err error) {
			if many, err = c.hasFree(); err != nil || !many {
				return err
			}
			return c.Run(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages)) // each row is a freed page
		})
		if err != nil || !many {
			break
		}
		shrunk = true
	}
	return shrunk, err
}

// hasFree reports whether many pages of the file are free.
func (c *conn) hasFree() (bool, error) {
	free, err := c.Int(countFree)
	if err != nil || free < vacuumLeast {
		return false, err
	}
	count, err := c.Int("PRAGMA page_count")
	return free*vacuumFrom >= count, err
}

// moveLog moves the log into the database beside writes, and then the writes of that time, which are fewer each time. With nothing
// left, the next write begins the log again. If it is long after several passes, writes wait until all of it is moved.
func (s *Store) moveLog(ctx context.Context) {
	for n := 0; n < maxPasses && s.checkpoint(s.mover, beside); n++ {
	}
	if s.pages.Load() > fullPages {
		_ = s.turn(ctx, func(c *conn) error { s.checkpoint(c, whole); return nil })
	}
}

// How much of the log a checkpoint moves.
const (
	beside = sqlite3.CHECKPOINT_PASSIVE // the pages that no reader still needs: readers and writers go on
	whole  = sqlite3.CHECKPOINT_RESTART // all, so that it begins again: readers go on, and it waits for those that use the log
)

// checkpoint moves the log into the database, and both to the disk. It reports whether there is more to move: a reader needed the log, or
// a write was made.
func (s *Store) checkpoint(c *conn, mode sqlite3.CheckpointMode) (more bool) {
	s.moving.Lock()
	defer s.moving.Unlock()
	pages := s.pages.Load()
	left, moved, err := c.WALCheckpoint("main", mode)
	if err != nil {
		return false
	}
	return left != moved || !s.pages.CompareAndSwap(pages, 0)
}
