package rotation

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	atOnce     = 2        // batches, so that one is sealed while the store has the other
	batchSize  = 8        // entries: few enough that what others want of the store comes in between
	batchLimit = 16 << 10 // bytes of a package; a longer one comes alone
	copies     = 3        // of a package in memory: as it was, opened, and resealed
)

// unlock returns a tenant's cache, with its keys as they are now.
func (r *Rotator) unlock(ctx context.Context, owner string) (*cache.Cache, error) {
	t, err := r.Ring.Tenant(ctx, owner)
	if err == nil {
		err = t.Reload(ctx)
	}
	if err != nil {
		return nil, err
	}
	return cache.New(r.Store, seal.NewSealer(t), r.Cache...), nil
}

// large is an entry that is longer than the limit of a batch.
type large struct {
	name  string
	bytes int
}

// resealBatch reseals entries. Packages longer than limit come one by one, as soon as there is room for them. The error is the store's; one of an
// entry itself is counted.
func (v *visit) resealBatch(ctx context.Context, owner string, t *tenant, names []string, limit int) error {
	var larger []large
	err := v.again(ctx, tries, func() (err error) {
		var more []large
		names, more, err = v.resealOnce(ctx, owner, t, names, limit)
		larger = append(larger, more...)
		return err
	})
	for _, one := range larger {
		if err := v.resealBatch(ctx, owner, t, []string{one.name}, one.bytes); err != nil {
			return err
		}
	}
	switch {
	case err == nil || ctx.Err() != nil || transient(err):
		return err
	case len(names) == 1:
		v.count(owner, Key{}, cache.Kept, err)
		return nil
	}
	for _, name := range names { // one of them spoils the answer for all
		if err := v.resealBatch(ctx, owner, t, []string{name}, limit); err != nil {
			return err
		}
	}
	return nil
}

// resealOnce tries once. It returns the entries that are left with the error, and those that are longer than limit.
func (v *visit) resealOnce(ctx context.Context, owner string, t *tenant, names []string, limit int) (left []string, larger []large, err error) {
	giveBack, err := v.r.Memory.Await(ctx, int64(len(names))*int64(limit)*copies)
	if err != nil {
		return names, nil, err
	}
	defer giveBack()
	results, err := t.cache.Reseal(ctx, names, limit, func(class classify.Class, id format.KeyID) bool { return !t.isPrimary(Key{class, ID(id)}) })
	for i := range results {
		one := &results[i]
		switch {
		case one.Did == cache.Large:
			larger = append(larger, large{names[i], one.Bytes})
		case err != nil && one.Err == nil && one.Did != cache.Anew:
			left = append(left, names[i])
		case one.Err != nil && transient(one.Err):
			left, err = append(left, names[i]), errors.Join(err, one.Err)
		default:
			v.count(owner, Key{one.Class, ID(one.KeyID)}, one.Did, one.Err)
		}
	}
	return left, larger, err
}

// count counts an entry that was visited.
func (v *visit) count(owner string, key Key, did cache.Resealed, err error) {
	v.r.see(func(seen *Seen) { seen.Entries.add(did, err) })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.add(did, err)
	if err == nil && did != cache.Anew && did != cache.Changed {
		return
	}
	n := v.noteOf(owner)
	n.counts.add(did, err)
	if err != nil {
		n.urgent = true
		n.failures[Failed{Key: key, Code: codes.Of(err).Code}]++
	}
}

// noteOf returns the note of a tenant. v.mu must be held.
func (v *visit) noteOf(owner string) *note {
	n := v.notes[owner]
	if n == nil {
		n = &note{failures: map[Failed]int{}}
		v.notes[owner] = n
	}
	return n
}

// save writes how far the part is, after the notes that it depends on. The part is done at its end, and if fault
// stopped it: then the sweep is incomplete.
func (v *visit) save(ctx context.Context, cursor string, done bool, fault error) error {
	if err := v.flush(ctx, done); err != nil {
		return err
	}
	v.mu.Lock()
	counts, room := v.counts, v.room
	v.mu.Unlock()
	s, err := v.r.editPart(ctx, v.number, v.part.Name, func(s *Sweep, p *Part) {
		p.Cursor, p.Counts, p.Done = []byte(cursor), counts, done
		if room >= 0 && (s.Room < 0 || room < s.Room) {
			s.Room = room
		}
		if fault != nil {
			s.fault(fault.Error())
		}
	})
	if err == nil {
		v.r.seeSweep(s)
	}
	return err
}

// flush writes notes to the tenants' records: those that must be durable, or all.
func (v *visit) flush(ctx context.Context, all bool) error {
	v.mu.Lock()
	all = all || len(v.notes) > maxNotes
	urgent := map[string]*note{}
	for owner, n := range v.notes {
		if all || n.urgent {
			urgent[owner] = n
			delete(v.notes, owner)
		}
	}
	v.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce)
	for owner, n := range urgent {
		g.Go(func() error {
			return v.again(ctx, tries, func() error {
				_, err := v.r.edit(ctx, owner, func(record *Record) error {
					if record.ID == "" {
						return errNothing
					}
					record.take(n, v.number)
					return nil
				})
				if errors.Is(err, errNothing) {
					return nil
				}
				return err
			})
		})
	}
	return g.Wait()
}
