package rotation

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// ageInterval is how often Serve looks for keysets that are due, and how old keys are.
const ageInterval = time.Minute

// usesInterval is how often Serve writes down what keys have sealed. A process that is killed forgets as much.
const usesInterval = 10 * time.Second

// DueAt is when a keyset gets a new primary for its age, in milliseconds since 1970; 0 is never.
func (r *Rotator) DueAt(s *envelope.Keyset) int64 {
	if r.Age == 0 || s.Use == format.UseStorage {
		return 0
	}
	return s.RotatedAt() + r.Age.Milliseconds()
}

// due reports whether a keyset is to get a new primary for its age or its uses, or because the one that it
// has never seals again, as a restore can leave it.
func (r *Rotator) due(record *Record, s *envelope.Keyset) bool {
	if primary := keyOf(s, s.Primary); primary != nil && primary.State != envelope.Enabled {
		return true
	}
	old := r.Age > 0 && r.now() >= r.DueAt(s)
	return old || r.Uses > 0 && record.Sealed[ID(s.Primary)] >= r.Uses && r.now() >= s.RotatedAt()+rest(s).Milliseconds()
}

// rest is the least age of a primary that gets a successor for its uses: the more keys there are, the longer,
// so that a small number of uses does not fill the keyset. One that has 1,000 is more than 600 years old.
func rest(s *envelope.Keyset) time.Duration {
	n := time.Duration(len(s.Keys) - 1)
	return n * n * time.Minute
}

// beginDue begins the rotations of keysets that are due, and remembers how old keys are. What cannot be read
// is reported, and holds up no other.
func (r *Rotator) beginDue(ctx context.Context, log *slog.Logger) {
	all := ages{room: -1}
	for d, err := range r.Ring.Documents(ctx) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.report(ctx, log, "", err)
			continue
		}
		if d.Shredded() {
			continue
		}
		record, err := r.Record(ctx, d.Owner)
		if record == nil {
			record = &Record{}
		}
		due := func(s *envelope.Keyset) bool { return s.Use != format.UseStorage && r.due(record, s) }
		if err == nil && slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool { return due(&s) }) {
			_, err = r.Begin(ctx, d.Owner, Order{due: r.due})
		}
		all.add(d, due, err == nil, r.Now())
		r.report(ctx, log, d.Owner, err)
	}
	r.see(func(seen *Seen) {
		seen.Keys, seen.Oldest, seen.Overdue, seen.Room = true, all.oldest, all.overdue, all.room
	})
}

// used is what keys have sealed in this process and is in no record yet.
type used map[string]map[format.KeyID]uint64

func newUsed() used { return used{} }

// save adds it to the records. What cannot be written now is kept.
func (u used) save(ctx context.Context, r *Rotator) (failed error) {
	if r.Uses == 0 {
		return nil
	}
	for tenant, sealed := range r.Ring.Sealed() {
		if u[tenant] == nil {
			u[tenant] = map[format.KeyID]uint64{}
		}
		for id, n := range sealed {
			u[tenant][id] += n
		}
	}
	for tenant, sealed := range u {
		_, err := r.edit(ctx, tenant, func(record *Record) error {
			for id, n := range sealed {
				record.count(ID(id), n)
			}
			return nil
		})
		if err != nil {
			failed = err
			continue
		}
		delete(u, tenant)
	}
	return failed
}
