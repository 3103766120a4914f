package sqlitekv

import (
	"fmt"
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// clock is the time of expiry, in Unix milliseconds. It follows the system's time of Open and the monotonic clock from then
// on, and never goes back, from one process to the next either: the database keeps the last time. So setting the
// system's clock makes no entry end early, except before a start.
type clock struct {
	base    int64
	elapsed func() time.Duration
}

// timer measures the time since now by the monotonic clock.
func timer() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func (c *clock) now() int64 { return c.base + c.elapsed().Milliseconds() }

// after returns when a time to live ends that begins now, rounded up to the millisecond. 0 means never.
func (c *clock) after(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	elapsed := c.elapsed()
	rest := elapsed%time.Millisecond + ttl%time.Millisecond // apart, since the longest TTL has no room for a sum
	return c.base + elapsed.Milliseconds() + ttl.Milliseconds() + (rest + time.Millisecond - 1).Milliseconds()
}

// until returns the time before an expiry, at least a millisecond. It exceeds the time to live that after rounded up by less
// than a millisecond.
func (c *clock) until(expires int64) time.Duration {
	left := time.Duration(min(expires-c.base, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	return max(left-c.elapsed(), time.Millisecond)
}

// keepTime writes the store's time into the database, for a start with a clock that is behind.
func (s *Store) keepTime(c *conn) error {
	return c.Run("UPDATE store SET clock = ?", s.clock.now())
}

// maxTime is the end of the year 9999.
const maxTime = 253402300799999

var errTime = fmt.Errorf("%w: the store's time is impossible", kv.ErrDamaged)

// checkTime returns kv.ErrDamaged for a time that no store kept.
func checkTime(kept int64) error {
	if kept < 0 || kept > maxTime {
		return errTime
	}
	return nil
}

// begin reads the id of the database, the time that it keeps, and the greatest number of a blob. It reports an impossible time and ignores it.
func (s *Store) begin(c *conn) error {
	last, err := c.lastBlob()
	if err != nil {
		return err
	}
	s.lastBlob.Store(last)
	return c.each("SELECT id, clock FROM store", func(row *sqlite3.Stmt) {
		s.id = row.ColumnText(0)
		if err := checkTime(row.ColumnInt64(1)); err != nil {
			_ = s.failure("open", err)
			return
		}
		s.clock.base = max(s.clock.base, row.ColumnInt64(1))
	})
}
