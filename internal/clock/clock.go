// Package clock determines the age of sealed values although the system's clock may be set back or forward.
//
// It reads the time in two ways: from the system, and as the time of the process's start plus the monotonic clock. The
// two differ if the system's clock was set in the meantime. A value is dated by the later reading, and its age is
// judged by the earlier one. A change of the system's clock therefore never makes a value look older than it is.
package clock

import (
	"math"
	"time"
)

// Skew is the maximum difference between the clocks of servers that share a store. Servers with a larger difference
// destroy no keys and report cache_not_shared.
const Skew = 15 * time.Minute

// Clock reads the time in two ways. Use System, except in tests.
type Clock struct {
	system, monotonic func() time.Time
}

// start is read when the process starts, before the system's clock may be set.
var start = time.Now()

// System is the clock of this process.
var System = &Clock{time.Now, func() time.Time { return start.Add(time.Since(start)) }}

// New returns a Clock with two readings. It is for tests.
func New(system, monotonic func() time.Time) *Clock { return &Clock{system, monotonic} }

// Date returns the time with which a new value is dated.
func (c *Clock) Date() time.Time {
	system, monotonic := c.system(), c.monotonic()
	if system.UnixNano() < monotonic.UnixNano() {
		return monotonic
	}
	return system
}

// Left returns how long a value with a date may still be kept if its maximum age is maxAge. It is negative if the value
// is too old.
func (c *Clock) Left(date time.Time, maxAge time.Duration) time.Duration {
	now := min(c.system().UnixMilli(), c.monotonic().UnixMilli())
	left := date.UnixMilli() - now + maxAge.Milliseconds()
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(max(-most, min(left, most))) * time.Millisecond
}

// SurelyExpired reports whether a value is older than maxAge even if the clocks of servers differ by Skew. A maxAge of
// 0 means no limit.
func (c *Clock) SurelyExpired(date time.Time, maxAge time.Duration) bool {
	return maxAge > 0 && c.Left(date, maxAge) < -Skew
}
