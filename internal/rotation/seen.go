package rotation

import (
	"maps"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Seen is what Serve last saw of all tenants together, and the work of this process since it started. It names no
// tenant and no key.
type Stats struct {
	Rotations      map[State]int // tenants by the state of their rotation at the end of the last sweep; nil before Serve looked
	SpareRotations int           // rotations of all its keys for which the fullest tenant has room, as of the last repair; -1 if not known
	EntriesLeft    int           // entries that the sweep under way has not visited yet, by the number of the last complete one
	Incomplete     bool          // the last sweep was incomplete
	Sweeping       bool          // this process works on a sweep
	Checked        bool          // Serve has looked for keysets that are due
	OldestPrimary  time.Time     // when the oldest primary was made; the zero time if it is not known
	Overdue        int           // keysets that are due and could not be rotated
	CacheNotShared bool          // see Rotator.Apart
	Entries        Counts        // that this process visited
	Errors         int           // in this process
}

// Seen returns what Serve saw. It reads nothing, so it may be called as often as one likes.
func (r *Rotator) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	seen.Rotations, seen.CacheNotShared = maps.Clone(seen.Rotations), len(r.reasons) > 0
	return seen
}

func (r *Rotator) see(change func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.seen)
}

// seeSweep takes a sweep as it is in the keystore.
func (r *Rotator) seeSweep(s *Sweep) {
	r.see(func(seen *Stats) {
		if seen.EntriesLeft = 0; s.Running() {
			seen.EntriesLeft = max(0, s.Expected()-s.Counts().Scanned)
		}
		if !s.Running() {
			seen.Rotations, seen.Incomplete = s.States, s.Fault != ""
		}
	})
}

// Expected returns how many entries the last complete sweep visited.
func (s *Sweep) Expected() int {
	if len(s.Complete) == 0 {
		return 0
	}
	return s.Complete[0].Scanned
}

// oldestPrimary returns when the oldest primary of a document's keysets was made, in milliseconds since 1970.
func oldestPrimary(d *envelope.Document) (at int64) {
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if primary := s.Key(s.Primary()); isRotated(s.Use) && primary != nil && (at == 0 || primary.CreatedAt < at) {
			at = primary.CreatedAt
		}
	}
	return at
}
