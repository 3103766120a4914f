// Package clock decides how old a sealed value is, on systems whose clock is set back or forward.
//
// It has two readings of the time: that of the system, and that of the process's start with the monotonic clock since. They
// differ if somebody sets the system's clock in between. A value is dated by the later reading and judged by the earlier one,
// so no step of the clock makes a value look older than it is.
package clock

import (
	"math"
	"time"
)

// Skew is how far the clocks of servers that share a store may be apart. Servers whose clocks differ by more destroy no key
// and report cache_not_shared.
const Skew = 15 * time.Minute

// Clock is the time. See System.
type Clock struct {
	system, steady func() time.Time
}

// start is of the process: a later start could be after a step.
var start = time.Now()

// System is the time of this process.
var System = &Clock{time.Now, func() time.Time { return start.Add(time.Since(start)) }}

// Of returns the time by two readings, for tests.
func New(system, steady func() time.Time) *Clock { return &Clock{system, steady} }

// Date returns the time by which a value is dated.
func (c *Clock) Date() time.Time {
	system, steady := c.system(), c.steady()
	if system.UnixNano() < steady.UnixNano() {
		return steady
	}
	return system
}

// Left returns how long a value of a date may still be kept that may be kept for longest. It is negative if the time is over.
func (c *Clock) Left(date time.Time, longest time.Duration) time.Duration {
	now := min(c.system().UnixMilli(), c.steady().UnixMilli())
	left := date.UnixMilli() - now + longest.Milliseconds()
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(max(-most, min(left, most))) * time.Millisecond
}

// Outlived reports whether a value of a date is kept for longer than longest, beyond all doubt about clocks. 0 means no limit.
func (c *Clock) SurelyExpired(date time.Time, longest time.Duration) bool {
	return longest > 0 && c.Left(date, longest) < -Skew
}
