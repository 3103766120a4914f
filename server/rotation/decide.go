package rotation

import (
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// rescan is the least time between two sweeps for a key if the first one found something, in milliseconds.
const rescan = int64(time.Hour / time.Millisecond)

// Margin is added to the time for which keys stay in memory: a minute by which the clocks of servers may differ, and a minute
// for a write that was sealed and has not reached the store.
const Margin = 2 * time.Minute

// Order selects the keysets to rotate.
type Order struct {
	Class       classify.Class // 0 means every class
	Compromised bool           // the former keys may have leaked: they never seal again, without a grace period or a rollback
	By          By

	due func(record *Record, s *envelope.Keyset) bool // nil means all keysets
}

// errNothing reports that there is nothing to rotate, or that the rotation is under way.
var errNothing = errors.New("rotation: nothing to begin")

// plan returns the record that announces a rotation of the keysets that the order selects. If a rotation is under
// way, the order joins it. plan returns errNothing if that one does all of it: a keyset that has a new primary
// gets no other one until a sweep that started later is complete. It returns ErrFull if there is no room for the new keys, unless
// the order is for keysets that are due: those with room are rotated then. plan changes the document.
func plan(record *Record, d *envelope.Document, order Order, swept uint64, now int64) (*Record, error) {
	next := *record
	if next.Keysets = slices.Clone(record.Keysets); !record.Active() {
		next = Record{Tenant: record.Tenant, Environment: record.Environment, Sealed: record.Sealed, ID: rand.Text(), Begun: now}
	}
	full, planned := false, 0
	next.Sealed = nil
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if n := record.Sealed[ID(s.Primary())]; n > 0 {
			next.addSealed(ID(s.Primary()), n)
		}
		if !rotates(s.Use) || order.Class != 0 && s.Class != order.Class || order.due != nil && !order.due(record, s) {
			continue
		}
		k := next.keyset(s)
		if k != nil && k.fresh(swept) && (k.Compromised || !order.Compromised) {
			continue
		}
		if from, epoch := ID(s.Primary()), s.Epoch(); !room(d, s) {
			full = true
		} else if planned++; k == nil {
			next.Keysets = append(next.Keysets, Keyset{Use: s.Use, Class: s.Class, From: from, Epoch: epoch, Compromised: order.Compromised, By: order.By})
		} else {
			if !enabled(s, k.From) {
				k.From = from
			}
			k.Epoch, k.Compromised, k.Made, k.By = epoch, k.Compromised || order.Compromised, false, order.By
		}
	}
	switch {
	case full && (order.due == nil || planned == 0):
		return nil, ErrFull
	case planned == 0:
		return nil, errNothing
	}
	next.State, next.By, next.Ended = Rotating, order.By, 0
	return &next, nil
}

// rotates reports whether keys of a use are rotated here. Those of browsers' storage are not: their data and copies
// of the keys are in browsers.
func rotates(use format.Use) bool { return use >= format.UseCache && use <= format.UseFile }

func (r *Record) keyset(s *envelope.Keyset) *Keyset {
	for i := range r.Keysets {
		if k := &r.Keysets[i]; k.Use == s.Use && k.Class == s.Class {
			return k
		}
	}
	return nil
}

// fresh reports whether no complete sweep, up to the one named swept, started after the new primary was made.
func (k *Keyset) fresh(swept uint64) bool { return !k.Made || k.After >= swept }

// room adds a key to a keyset, and reports whether it fits.
func room(d *envelope.Document, s *envelope.Keyset) bool {
	none := envelope.Key{State: envelope.Enabled, CreatedAt: s.RotatedAt(), Root: s.Keys[0].Root, Wrapped: make([]byte, envelope.WrappedSize)}
	_, _ = rand.Read(none.ID[:]) // cannot fail
	if d.AddKey(s.Use, s.Class, none) != nil {
		return false
	}
	sizes := func(*envelope.Record) ([envelope.MACSize]byte, bool) { return [envelope.MACSize]byte{1}, true }
	if d.Sign(sizes) != nil {
		return false
	}
	_, err := d.Append(nil)
	return err == nil
}

// made completes the announcement of new primaries. sweep is the number of the last sweep that began before
// the document was read and after the announcement was durable.
func (r *Record) made(d *envelope.Document, sweep uint64, now, ttl, grace int64) {
	r.State, r.Rotated, r.Until = Reencrypting, now, max(r.Until, now+grace)
	if !slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return !k.Compromised }) {
		r.Until = 0 // there is no way back to keep open
	}
	for i := range r.Keysets {
		k := &r.Keysets[i]
		if k.Made {
			continue
		}
		k.Made, k.After = true, sweep
		if s := d.Keyset(k.Use, k.Class); s != nil {
			k.Epoch = s.Epoch()
		}
	}
	var former []Former
	for key, state := range formerKeys(d) {
		f := Former{Key: key, NotBefore: now + 1 + ttl, After: sweep, Compromised: state == envelope.Compromised, By: r.By}
		before := r.former(key)
		switch {
		case before != nil && (before.Compromised || !f.Compromised):
			f = *before
		case before != nil:
			f.NotBefore, f.FoundIn, f.By = min(f.NotBefore, before.NotBefore), before.FoundIn, before.By
		case !f.Compromised:
			f.NotBefore += grace
		}
		if before == nil {
			f.By = r.orderOf(key.Class)
		}
		former = append(former, f)
	}
	slices.SortFunc(former, func(a, b Former) int { return slices.Compare(a.ID[:], b.ID[:]) })
	r.Former = former
}

// orderOf returns who ordered the rotation of a class's keyset of the cache.
func (r *Record) orderOf(class classify.Class) By {
	if k := r.keyset(&envelope.Keyset{Use: format.UseCache, Class: class}); k != nil {
		return k.By
	}
	return r.By
}

// formerKeys returns the keys of the cache, with their states, that are neither primaries nor destroyed. They
// include those that an earlier rotation did not destroy.
func formerKeys(d *envelope.Document) map[Key]envelope.State {
	all := map[Key]envelope.State{}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for j := range s.Keys {
			if key := &s.Keys[j]; s.Use == format.UseCache && key.ID != s.Primary() && key.State != envelope.Destroyed {
				all[Key{s.Class, ID(key.ID)}] = key.State
			}
		}
	}
	return all
}

// ways returns the keysets that a rollback changes: those that still have the primary that the rotation made, and
// whose former primary is enabled.
func (r *Record) ways(d *envelope.Document) (all []Keyset) {
	for i := range r.Keysets {
		k := &r.Keysets[i]
		if s := d.Keyset(k.Use, k.Class); r.Reversible(k) && s != nil && s.Epoch() == k.Epoch && s.Primary() != format.KeyID(k.From) && enabled(s, k.From) {
			all = append(all, *k)
		}
	}
	return all
}

func enabled(s *envelope.Keyset, id ID) bool {
	key := keyOf(s, format.KeyID(id))
	return key != nil && key.State == envelope.Enabled
}

// keyOf returns a key of a keyset, nil if there is none of that id.
func keyOf(s *envelope.Keyset, id format.KeyID) *envelope.Key {
	for i := range s.Keys {
		if s.Keys[i].ID == id {
			return &s.Keys[i]
		}
	}
	return nil
}

// counts reports whether a sweep says something about a former key: it started when no process could seal
// under the key anymore.
func (f *Former) counts(number uint64, started int64) bool {
	return number > f.After && started >= f.NotBefore
}

// notes reports whether a sweep has to note an entry that it found under a key. It need not if the sweep does not
// count for the key. While the record announces a change that is not known, so all is noted.
func (r *Record) notes(key Key, number uint64, started int64) bool {
	f := r.former(key)
	return f != nil && (r.Announced() || f.counts(number, started))
}

// destroys reports whether a former key is to be destroyed: the last two complete sweeps count, and neither they
// nor an incomplete one between or after them found an entry under it, or one of the tenant that did not open.
func destroys(f *Former, unreadableIn uint64, s *Sweep) bool {
	if len(s.Last) < 2 {
		return false
	}
	for _, one := range s.Last {
		if !f.counts(one.Number, one.Started) || f.FoundIn >= one.Number || unreadableIn >= one.Number {
			return false
		}
	}
	return true
}

// maxAhead is how far the clock of a server can be ahead before times that it wrote down are corrected.
const maxAhead = 48 * time.Hour

// awaits reports whether a time that is at most longest ahead is still to come. A server with a wrong clock wrote down a
// later one, which delays nothing.
func awaits(at, now int64, longest time.Duration) bool {
	return at > now && at-now <= (longest+maxAhead).Milliseconds()
}

// ahead returns how far the clock was ahead by which the last new primaries were made, 0 for less than maxAhead.
func (r *Record) ahead(now int64) int64 {
	if ahead := r.Rotated - now; ahead > maxAhead.Milliseconds() {
		return ahead
	}
	return 0
}

// correct moves the times that were counted by a clock that was ahead.
func (r *Record) correct(ahead int64) {
	at := []*int64{&r.Until}
	for i := range r.Former {
		at = append(at, &r.Former[i].NotBefore)
	}
	for _, one := range at {
		if *one > r.Rotated {
			*one -= ahead
		}
	}
	r.Rotated -= ahead
}

// step is what is to be done for a rotation.
type step struct {
	state   State
	destroy []Key
	sweep   uint64 // a sweep with this number, or a later one, has to end; 0 means none
	full    bool   // at full rate
	next    int64  // when to look again, in any case
}

// decide returns what is to be done at a time for a rotation that is not announced.
func decide(r *Record, s *Sweep, now int64) step {
	n := step{full: r.Compromised()}
	fresh, waits, retires := false, r.Until > now, false
	again := now + rescan
	if s.Ended > 0 {
		again = s.Ended + rescan
	}
	rests := awaits(again, now, time.Hour)
	wait := func(until int64) {
		if n.next == 0 || until < n.next {
			n.next = until
		}
	}
	need := func(running bool) { // running: the sweep that is under way will do
		number := s.Number + 1
		if running && s.open() {
			number = s.Number
		}
		n.sweep = max(n.sweep, number)
	}
	for i := range r.Keysets {
		if k := &r.Keysets[i]; k.Use == format.UseCache && k.fresh(s.Swept) {
			fresh = true
			need(s.Number > k.After)
		}
	}
	if waits {
		wait(r.Until)
	}
	for i := range r.Former {
		f := &r.Former[i]
		switch {
		case destroys(f, r.UnreadableIn, s):
			n.destroy = append(n.destroy, f.Key)
		case f.NotBefore > now:
			waits = true
			wait(f.NotBefore)
		case !s.open() && s.Number > 0 && max(f.FoundIn, r.UnreadableIn) >= s.Number && rests:
			retires = true
			wait(again)
		default:
			retires = true
			need(f.counts(s.Number, s.Started))
		}
	}
	switch {
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
