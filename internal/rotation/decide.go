package rotation

import (
	"time"

	"github.com/coffer-storage/coffer/shared/format"
)

// Margin is added to the time for which keys stay in memory: a minute by which the clocks of servers may differ, and a minute
// for a write that was sealed and has not reached the store.
const Margin = 2 * time.Minute

// The times after which a tenant is looked at again, in milliseconds.
const (
	retry   = int64(time.Minute / time.Millisecond) // a change that may be half done, or failed
	recheck = int64(time.Hour / time.Millisecond)   // a sweep that was requested; also the least time between two sweeps for a key that one found
	forget  = 5 * retry                             // an order without effect: no change takes as long, and clocks differ by a minute
)

// step is what is to be done for a rotation.
type step struct {
	state   State
	destroy []Key
	sweep   uint64 // a sweep with this number, or a later one, has to end; 0 means none
	full    bool   // at full rate
	next    int64  // when to look again; 0 means never
}

// requests reports whether the sweep is not requested yet.
func (n *step) requests(s *Sweep) bool {
	return n.sweep > s.Requested || n.sweep > 0 && n.full && !s.RequestedFullRate
}

// decide returns the state of a rotation and what is to be done at a time.
func decide(r *Record, s *Sweep, now int64) step {
	n := step{}
	fresh, waits, retires := false, r.GraceUntil > now, false
	again := now + recheck
	if s.Ended > 0 {
		again = s.Ended + recheck
	}
	later := func(at int64) {
		if n.next == 0 || at < n.next {
			n.next = at
		}
	}
	need := func(running bool) { // running: the sweep that is under way will do
		number := s.Number + 1
		if running && s.Running() {
			number = s.Number
		}
		n.sweep = max(n.sweep, number)
	}
	for i := range r.Keysets {
		if k := &r.Keysets[i]; r.Ended == 0 && k.Use == format.UseCache && k.AfterSweep >= s.LastComplete {
			fresh, n.full = true, n.full || k.Compromised
			need(s.Number > k.AfterSweep)
			later(now + recheck) // the sweep brings the rotation into the next state by itself
		}
	}
	if waits {
		later(r.GraceUntil)
	}
	for i := range r.Former {
		f := &r.Former[i]
		n.full = n.full || f.Compromised
		switch {
		case destroys(f, r.UnreadableIn, s):
			n.destroy = append(n.destroy, f.Key)
			later(now + retry)
		case f.notBefore() > now:
			waits = true
			later(f.notBefore())
		case !s.Running() && s.Number > 0 && max(f.LastFoundIn, r.UnreadableIn) >= s.Number && awaits(again, now, time.Hour):
			retires = true
			later(again)
		default:
			retires = true
			need(f.counts(s.Number, s.Started))
			later(now + s.pause() + 1)
		}
	}
	switch {
	case r.Pending != nil:
		n.state = Rotating
		later(now + retry)
	case r.ID == "":
		n.state = Idle
	case r.RolledBack:
		n.state = RolledBack
	case fresh:
		n.state = Reencrypting
	case retires || len(n.destroy) > 0:
		n.state = Retiring
	case waits:
		n.state = Grace
	default:
		n.state = Done
	}
	return n
}

// destroys reports whether a former key is to be destroyed: the last two complete sweeps count, and neither they
// nor an incomplete one between or after them found an entry under it, or one of the tenant that did not open.
func destroys(f *FormerKey, unreadableIn uint64, s *Sweep) bool {
	if len(s.Complete) < 2 {
		return false
	}
	for _, one := range s.Complete {
		if !f.counts(one.Number, one.Started) || f.LastFoundIn >= one.Number || unreadableIn >= one.Number {
			return false
		}
	}
	return true
}

// awaits reports whether a time that is at most longest ahead is still to come. A server with a wrong clock wrote down a
// later one, which delays nothing.
func awaits(at, now int64, longest time.Duration) bool {
	return at > now && at-now <= (longest+maxAhead).Milliseconds()
}
