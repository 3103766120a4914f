package rotation

import (
	"time"

	"github.com/coffer-storage/coffer/shared/format"
)

// Margin is added to the time for which processes keep keys in memory. It covers a clock difference of one minute
// between servers, and one minute for a write that was sealed but has not reached the store yet.
const Margin = 2 * time.Minute

// Times after which a rotation is checked again, in milliseconds.
const (
	retryAfter       = int64(time.Minute / time.Millisecond) // after a change that failed or may be incomplete
	recheckAfter     = int64(time.Hour / time.Millisecond)   // after a sweep was requested; also the minimum time between two sweeps for a key that is still in use
	forgetOrderAfter = 5 * retryAfter                        // an order without effect is dropped: no change takes that long, and clocks differ by up to a minute
)

// decision is the state of a rotation and the work that is due for it.
type decision struct {
	state       State
	destroy     []Key
	sweepNumber uint64 // a sweep with this number or a later one must finish; 0 means that no sweep is needed
	fullRate    bool   // the sweep ignores Options.Rate
	nextCheck   int64  // when to check again; 0 means never
}

// requestsSweep reports whether the decision needs a sweep that is not requested yet.
func (d *decision) requestsSweep(s *Sweep) bool {
	return d.sweepNumber > s.Requested || d.sweepNumber > 0 && d.fullRate && !s.RequestedFullRate
}

// decide returns the state of a rotation, and the work that is due for it, at the time now.
func decide(r *Record, s *Sweep, now int64) decision {
	d := decision{}
	reencrypting, inGrace, retiring := false, r.GraceUntil > now, false
	nextSweepCheck := now + recheckAfter
	if s.Ended > 0 {
		nextSweepCheck = s.Ended + recheckAfter
	}
	scheduleNext := func(at int64) {
		if d.nextCheck == 0 || at < d.nextCheck {
			d.nextCheck = at
		}
	}
	requireSweep := func(joinRunning bool) { // joinRunning: the running sweep is sufficient
		number := s.Number + 1
		if joinRunning && s.Running() {
			number = s.Number
		}
		d.sweepNumber = max(d.sweepNumber, number)
	}
	for i := range r.Keysets {
		if k := &r.Keysets[i]; r.Ended == 0 && k.Use == format.UseCache && k.AfterSweep >= s.LastComplete {
			reencrypting, d.fullRate = true, d.fullRate || k.Compromised
			requireSweep(s.Number > k.AfterSweep)
			scheduleNext(now + recheckAfter) // in case the sweep is lost: usually its end triggers the next step
		}
	}
	if inGrace {
		scheduleNext(r.GraceUntil)
	}
	for i := range r.Former {
		f := &r.Former[i]
		d.fullRate = d.fullRate || f.Compromised
		switch {
		case mayDestroy(f, r.UnreadableIn, s):
			d.destroy = append(d.destroy, f.Key)
			scheduleNext(now + retryAfter)
		case f.countsFrom() > now:
			inGrace = true
			scheduleNext(f.countsFrom())
		case !s.Running() && s.Number > 0 && max(f.LastFoundIn, r.UnreadableIn) >= s.Number && isAhead(nextSweepCheck, now, time.Hour):
			retiring = true
			scheduleNext(nextSweepCheck)
		default:
			retiring = true
			requireSweep(f.sweepCounts(s.Number, s.Started))
			scheduleNext(now + s.recheckPause() + 1)
		}
	}
	switch {
	case r.Pending != nil:
		d.state = Rotating
		scheduleNext(now + retryAfter)
	case r.ID == "":
		d.state = Idle
	case r.RolledBack:
		d.state = RolledBack
	case reencrypting:
		d.state = Reencrypting
	case retiring || len(d.destroy) > 0:
		d.state = Retiring
	case inGrace:
		d.state = Grace
	default:
		d.state = Done
	}
	return d
}

// mayDestroy reports whether a former key can be destroyed. The last two complete sweeps must count for the key. No
// sweep since the first of them, complete or not, may have found an entry under the key, or an entry of the tenant that
// does not open.
func mayDestroy(f *formerKey, unreadableIn uint64, s *Sweep) bool {
	if len(s.Complete) < 2 {
		return false
	}
	for _, one := range s.Complete {
		if !f.sweepCounts(one.Number, one.Started) || f.LastFoundIn >= one.Number || unreadableIn >= one.Number {
			return false
		}
	}
	return true
}

// isAhead reports whether a time is still to come. A time that is further ahead than the longest expected one was
// written by a server with a wrong clock, and is treated as past.
func isAhead(at, now int64, longest time.Duration) bool {
	return at > now && at-now <= (longest+maxAhead).Milliseconds()
}
