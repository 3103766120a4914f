package rotation

import (
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// States are those that a rotation can be in, in their order.
var States = []State{Rotating, Reencrypting, Grace, FirstScan, Disabling, SecondScan, Destroying, Done, RollingBack, RolledBack}

// Seen is what Serve saw of all tenants together when it last looked, and what this process did since it
// began. It names no tenant and no key.
type Seen struct {
	Rotations map[State]int // the last one of each tenant; nil where Serve has not looked yet
	Left      int           // entries that those under way have yet to go through
	Leading   bool          // this process goes through entries now
	Keys      bool          // Serve has looked at the keysets, every minute it does
	Oldest    time.Time     // when the oldest primary key was made; the zero time where there is none
	Overdue   int           // keysets that were to get a new primary and did not
	Room      int           // rotations of all its keys for which the fullest tenant has room; -1 where there is no tenant
	Entries   Counts        // what this process did
	Errors    int           // how often a rotation was held up in this process
}

// Seen tells what Serve saw. It reads nothing, so it may be asked as often as one likes.
func (r *Rotator) Seen() Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	seen.Rotations = maps.Clone(seen.Rotations)
	for _, n := range r.left {
		seen.Left += n
	}
	return seen
}

func (r *Rotator) see(change func(*Seen)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.seen)
}

// seeAll takes the records of all tenants.
func (r *Rotator) seeAll(records []*Record) {
	states, left := map[State]int{}, map[string]int{}
	for _, record := range records {
		if record.State == Idle {
			continue
		}
		states[record.State]++
		if n := record.left(); n > 0 {
			left[record.Tenant] = n
		}
	}
	r.see(func(seen *Seen) { seen.Rotations, r.left = states, left })
}

// seeOne takes a record that has come further.
func (r *Rotator) seeOne(record *Record) {
	n := record.left()
	r.see(func(*Seen) { r.left[record.Tenant] = n })
}

// left is how many entries are yet to be gone through.
func (r *Record) left() int {
	if r.State != Reencrypting && r.State != FirstScan && r.State != SecondScan {
		return 0
	}
	return max(0, r.Counts.Total-r.Counts.Scanned)
}

// count counts an entry that was looked at.
func (r *Rotator) count(did cache.Resealed, err error) {
	r.see(func(seen *Seen) { seen.Entries.add(did, err) })
}

// ages is what a look at the keysets comes to.
type ages struct {
	oldest  time.Time
	overdue int
	room    int // -1 where there is no tenant
}

// add takes a tenant's keysets. Those that are due and were not rotated just now are overdue.
func (a *ages) add(d *envelope.Document, due func(*envelope.Keyset) bool, rotated bool, now time.Time) {
	if room := d.Room(); a.room < 0 || room < a.room {
		a.room = room
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if s.Use == format.UseStorage {
			continue
		}
		made := time.UnixMilli(primaryMade(s))
		switch {
		case due(s) && rotated:
			made = now
		case due(s):
			a.overdue++
		}
		if a.oldest.IsZero() || made.Before(a.oldest) {
			a.oldest = made
		}
	}
}

// primaryMade is when a keyset's primary was made, in milliseconds since 1970.
func primaryMade(s *envelope.Keyset) int64 {
	if primary := keyOf(s, s.Primary); primary != nil {
		return primary.CreatedAt
	}
	return s.RotatedAt()
}

// keyOf gives a key of a keyset; nil where it has none of that id.
func keyOf(s *envelope.Keyset, id format.KeyID) *envelope.Key {
	for i := range s.Keys {
		if s.Keys[i].ID == id {
			return &s.Keys[i]
		}
	}
	return nil
}
