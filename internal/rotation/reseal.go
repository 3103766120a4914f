package rotation

import (
	"context"
	"errors"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	atOnce     = 2        // batches, so that one is sealed while the store has the other
	batchSize  = 8        // entries: few enough that other requests of the store come in between
	fullBatch  = 32       // entries at full rate
	batchLimit = 16 << 10 // bytes of a package; a longer one comes alone
	copies     = 3        // of a package in memory: as it was, opened, and resealed
	maxNotes   = 1 << 14  // tenants whose counts are in memory
)

// note is what a visit found out about a tenant. Failures have to be durable before the next checkpoint.
type note struct {
	failures map[Failure]int // with Entries 0
	counts   Counts
	unsound  int // entries that were altered, moved or forged
}

// reseal brings a tenant's entries under the primaries of their classes.
func (v *visit) reseal(ctx context.Context, owner string, names []string) error {
	t := v.tenants[owner]
	if t.cache == nil && t.err == nil {
		t.err = v.again(ctx, keyTries, func() error {
			keys, err := v.r.Keyring.Tenant(ctx, owner)
			if err == nil {
				err = keys.Reload(ctx)
			}
			if err == nil {
				t.cache = cache.New(v.r.Store, seal.NewSealer(keys), v.r.Cache...)
			}
			return err
		})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if t.err != nil {
		for range names {
			v.count(owner, Key{}, cache.Kept, t.err)
		}
		return nil
	}
	size := int64(batchSize)
	if v.limit == nil {
		size = fullBatch
	}
	size = max(1, min(size, v.r.Memory.BackgroundShare()/(batchLimit*copies)))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for len(names) > 0 {
		batch := names[:min(len(names), int(size))]
		names = names[len(batch):]
		g.Go(recovered(func() error {
			if err := v.wait(ctx, len(batch)*(lookCost-1)); err != nil {
				return err
			}
			return v.resealBatch(ctx, owner, t, batch, batchLimit)
		}))
	}
	return g.Wait()
}

// resealBatch reseals entries. The error is the store's; one of an entry itself is counted.
func (v *visit) resealBatch(ctx context.Context, owner string, t *tenant, names []string, limit int) error {
	err := v.again(ctx, tries, func() (err error) {
		names, err = v.resealOnce(ctx, owner, t, names, limit)
		return err
	})
	if err == nil || ctx.Err() != nil || transient(err) {
		return err
	}
	if len(names) == 1 {
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

// resealOnce tries once, and returns the entries that are left with the error. Packages longer than limit come one by one, as soon
// as there is memory for them.
func (v *visit) resealOnce(ctx context.Context, owner string, t *tenant, names []string, limit int) (left []string, err error) {
	giveBack, err := v.r.Memory.ReserveBackground(ctx, int64(len(names))*int64(limit)*copies)
	if err != nil {
		return names, err
	}
	var results []cache.Resealing
	func() {
		defer giveBack() // after a panic as well
		results, err = t.cache.Reseal(ctx, names, limit, func(class classify.Class, id format.KeyID) bool { return !t.isPrimary(Key{class, ID(id)}) })
	}()
	for i := range results {
		one := &results[i]
		switch {
		case one.Did == cache.Large:
			if e := v.resealBatch(ctx, owner, t, names[i:i+1], one.Bytes); e != nil {
				left, err = append(left, names[i]), errors.Join(err, e)
			}
		case err != nil && one.Err == nil && one.Did != cache.Anew:
			left = append(left, names[i])
		case one.Err != nil && transient(one.Err):
			left, err = append(left, names[i]), errors.Join(err, one.Err)
		default:
			v.count(owner, Key{one.Class, ID(one.KeyID)}, one.Did, one.Err)
		}
	}
	return left, err
}

// count counts an entry that was visited.
func (v *visit) count(owner string, key Key, did cache.Resealed, err error) {
	v.r.see(func(seen *Stats) { seen.Entries.add(did, err) })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.add(did, err)
	if err == nil && did != cache.Anew && did != cache.Changed {
		return
	}
	n := v.noteLocked(owner)
	n.counts.add(did, err)
	if err != nil {
		n.failures[Failure{Key: key, Code: codes.Of(err).Code}]++
	}
	if errors.Is(err, envelope.ErrAuthentication) {
		n.unsound++
	}
}

// noteUnsound notes an entry that is not a package of the cache.
func (v *visit) noteUnsound(owner string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noteLocked(owner).unsound++
}

// noteLocked returns the note of a tenant. v.mu must be held.
func (v *visit) noteLocked(owner string) *note {
	n := v.notes[owner]
	if n == nil {
		n = &note{failures: map[Failure]int{}}
		v.notes[owner] = n
	}
	return n
}

// recordUnsound records once that a sweep found entries of a tenant that were altered, moved or forged, or under unknown keys.
func (v *visit) recordUnsound(ctx context.Context, owner string, n *note) error {
	unknown := 0
	for failed, entries := range n.failures {
		if failed.Code == envelope.ErrUnknownKey.Code() {
			unknown += entries
		}
	}
	var events []audit.Event
	for code, entries := range map[string]int{envelope.ErrAuthentication.Code(): n.unsound, envelope.ErrUnknownKey.Code(): unknown} {
		if entries > 0 {
			events = append(events, audit.Event{
				Action: audit.KeyOpen, Operation: "sweep", Tenant: owner, Code: code, Facts: audit.Facts{audit.FactFailed: strconv.Itoa(entries)},
			})
		}
	}
	if len(events) == 0 {
		return nil
	}
	return v.r.Audit.Record(ctx, events...)
}

// save writes how far the part is, after the notes that it depends on. The part is done at its end, and if fault
// stopped it: then the sweep is incomplete.
func (v *visit) save(ctx context.Context, cursor string, done bool, fault error) error {
	if err := v.flush(ctx, done); err != nil {
		return err
	}
	v.mu.Lock()
	counts := v.counts
	v.mu.Unlock()
	s, err := v.r.editPart(ctx, v.number, v.part.Name, func(s *Sweep, p *Part) {
		p.Cursor, p.Counts, p.Done = []byte(cursor), counts, done
		if fault != nil {
			s.fault(codes.Of(fault).Meaning) // the error itself is logged
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
		if all || len(n.failures) > 0 {
			urgent[owner] = n
			delete(v.notes, owner)
		}
	}
	v.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce)
	for owner, n := range urgent {
		g.Go(recovered(func() error {
			if err := v.again(ctx, tries, func() error { return v.recordUnsound(ctx, owner, n) }); err != nil {
				return err
			}
			err := v.again(ctx, tries, func() error {
				_, err := v.r.edit(ctx, owner, func(record *Record) error {
					if record.ID == "" && len(record.Former) == 0 { // an altered record that is not begun again yet counts later sweeps only
						return errNothing
					}
					record.take(n, v.number)
					return nil
				})
				return err
			})
			if errors.Is(err, errNothing) {
				return nil
			}
			return err
		}))
	}
	return g.Wait()
}
