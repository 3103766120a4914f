package sqlitekv

import (
	"fmt"
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/server/kv"
)

// clock is the time by which entries expire, in Unix milliseconds. It starts with the system's time at Open and then
// follows the monotonic clock, so that setting the system's clock makes no entry expire early while the store is open.
// It never goes back, not even across restarts, because the database keeps the last time.
type clock struct {
	base    int64
	elapsed func() time.Duration
}

// monotonicTimer returns a function that returns the time since now by the monotonic clock.
func monotonicTimer() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func (c *clock) now() int64 { return c.base + c.elapsed().Milliseconds() }

// expiry returns when a TTL that begins now ends, rounded up to the millisecond. It returns 0, which means never, for a
// TTL of 0.
func (c *clock) expiry(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	elapsed := c.elapsed()
	fraction := elapsed%time.Millisecond + ttl%time.Millisecond // added separately, because adding to the longest TTL would overflow
	return c.base + elapsed.Milliseconds() + ttl.Milliseconds() + (fraction + time.Millisecond - 1).Milliseconds()
}

// timeLeft returns the time until an expiry, at least a millisecond. Rounding makes it less than a millisecond longer
// than the original TTL.
func (c *clock) timeLeft(expires int64) time.Duration {
	left := time.Duration(min(expires-c.base, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	return max(left-c.elapsed(), time.Millisecond)
}

// storeClock writes the clock into the database, so that it does not go back if the system's clock is behind at the
// next start.
func (s *Store) storeClock(c *conn) error {
	return c.Run("UPDATE store SET clock = ?", s.clock.now())
}

// maxTime is the end of the year 9999.
const maxTime = 253402300799999

var errTime = fmt.Errorf("%w: the store's time is impossible", kv.ErrDamaged)

// checkTime returns kv.ErrDamaged for a time that no store has written.
func checkTime(stored int64) error {
	if stored < 0 || stored > maxTime {
		return errTime
	}
	return nil
}

// loadState reads the id of the database, its clock, and the largest number of a blob. It reports an impossible clock
// and ignores it.
func (s *Store) loadState(c *conn) error {
	last, err := c.lastBlob()
	if err != nil {
		return err
	}
	s.lastBlob.Store(last)
	return c.forEach("SELECT id, clock FROM store", func(row *sqlite3.Stmt) {
		s.id = row.ColumnText(0)
		if err := checkTime(row.ColumnInt64(1)); err != nil {
			_ = s.mapError("open", err)
			return
		}
		s.clock.base = max(s.clock.base, row.ColumnInt64(1))
	})
}
