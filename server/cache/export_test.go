package cache

import "github.com/coffer-storage/coffer/internal/clock"

// WithClock sets the clock by which values are dated and expire.
func WithClock(clock *clock.Clock) Option { return func(c *Cache) { c.clock = clock } }
