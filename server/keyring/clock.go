package keyring

import (
	"context"
	"time"
)

// clockInterval is how far the clock can be behind by which each use of keys is checked, so keys can be used as much longer than
// their time. Reading the system's clock for each use would take a tenth of the time of sealing 1 KiB.
const clockInterval = time.Second

// moment is a time by two clocks: the monotonic one stands still while a machine is suspended, and the other one can be set back.
type moment struct{ monotonic, wall time.Duration }

// since returns the time between two moments, by the clock that has come further.
func (m moment) since(earlier moment) time.Duration {
	return max(m.monotonic-earlier.monotonic, m.wall-earlier.wall)
}

// now reads the system's clocks.
func (r *Keyring) now() moment {
	now := time.Now()
	return moment{now.Sub(r.begun), time.Duration(now.UnixNano())}
}

// lately returns a moment that is at most clockInterval ago.
func (r *Keyring) lately() moment {
	if m := r.clock.Load(); m != nil {
		return *m
	}
	return r.now()
}

func (r *Keyring) readClock(context.Context) {
	m := r.now()
	r.clock.Store(&m)
}
