package keyring

import (
	"context"
	"time"
)

// clockInterval is how often the clock is read that every use of keys is checked against: keys may be used that much
// longer than their TTL. Reading the system's clock at each use would take a tenth of the time of sealing 1 KiB.
const clockInterval = time.Second

// moment is a time by two clocks: the monotonic clock stops while a machine is suspended, and the wall clock can be
// set back.
type moment struct{ monotonic, wall time.Duration }

// since returns the time between two moments, by the clock on which more time has passed.
func (m moment) since(earlier moment) time.Duration {
	return max(m.monotonic-earlier.monotonic, m.wall-earlier.wall)
}

// now reads the system's clocks.
func (r *Keyring) now() moment {
	now := time.Now()
	return moment{now.Sub(r.started), time.Duration(now.UnixNano())}
}

// recentTime returns a moment that is at most clockInterval ago.
func (r *Keyring) recentTime() moment {
	if m := r.clock.Load(); m != nil {
		return *m
	}
	return r.now()
}

func (r *Keyring) readClock(context.Context) {
	m := r.now()
	r.clock.Store(&m)
}
