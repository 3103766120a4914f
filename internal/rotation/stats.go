package rotation

import (
	"maps"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Stats describes the rotations of all tenants together, and the work of this process since it started. It names no
// tenant and no key.
type Stats struct {
	Rotations      map[State]int // tenants by state at the end of the last sweep; nil before Serve has read it
	SpareRotations int           // rotations of all keys that still fit in the fullest tenant, as of the last repair; -1 if unknown
	EntriesLeft    int           // entries that the running sweep has not visited yet, estimated from the last complete sweep
	Incomplete     bool          // the last sweep was incomplete
	Sweeping       bool          // this process is sweeping
	Checked        bool          // Serve has checked for due keysets
	OldestPrimary  time.Time     // when the oldest primary was made; zero if unknown
	Overdue        int           // keysets that are due and could not be rotated
	CacheNotShared bool          // see Rotator.CheckCacheShared
	Entries        Counts        // visited by this process
	Errors         int           // in this process
}

// Stats returns the latest statistics. It does no I/O.
func (r *Rotator) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.stats
	stats.Rotations, stats.CacheNotShared = maps.Clone(stats.Rotations), len(r.unsharedReasons) > 0
	return stats
}

func (r *Rotator) updateStats(update func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	update(&r.stats)
}

// updateSweepStats updates the statistics from the stored sweep.
func (r *Rotator) updateSweepStats(s *Sweep) {
	r.updateStats(func(stats *Stats) {
		if stats.EntriesLeft = 0; s.Running() {
			stats.EntriesLeft = max(0, s.Expected()-s.Counts().Scanned)
		}
		if !s.Running() {
			stats.Rotations, stats.Incomplete = s.States, s.Fault != ""
		}
	})
}

// Expected returns how many entries the last complete sweep visited, or 0.
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
