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
	concurrentBatches = 2        // one batch is sealed while the store processes the other
	limitedBatch      = 8        // entries: few, so that the store serves other requests in between
	fullRateBatch     = 32       // entries, at full rate
	maxBatchedPackage = 16 << 10 // bytes of a package; a larger one is processed alone
	copiesInMemory    = 3        // of a package: as stored, opened, and re-encrypted
	maxUnsavedResults = 1 << 14  // tenants whose results are kept in memory
)

// tenantResult is the result of a visit for a tenant. Failures must be saved before the progress is.
type tenantResult struct {
	failures map[Failure]int // the keys have Entries 0; the values are the numbers of entries
	counts   Counts
	forged   int // entries that were altered, moved or forged
}

// reencrypt re-encrypts a tenant's entries under the primaries of their classes.
func (v *partVisit) reencrypt(ctx context.Context, owner string, names []string) error {
	t := v.tenants[owner]
	if t.cache == nil && t.err == nil {
		t.err = v.retry(ctx, maxKeyTries, func() error {
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
			v.countEntry(owner, Key{}, cache.Unchanged, t.err)
		}
		return nil
	}
	size := int64(limitedBatch)
	if v.limiter == nil {
		size = fullRateBatch
	}
	size = max(1, min(size, v.r.Memory.BackgroundShare()/(maxBatchedPackage*copiesInMemory)))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentBatches)
	for len(names) > 0 {
		batch := names[:min(len(names), int(size))]
		names = names[len(batch):]
		g.Go(recovered(func() error {
			if err := v.waitForRate(ctx, len(batch)*(entriesPerReencryption-1)); err != nil {
				return err
			}
			return v.reencryptBatch(ctx, owner, t, batch, maxBatchedPackage)
		}))
	}
	return g.Wait()
}

// reencryptBatch re-encrypts entries. It counts the errors of single entries and returns those of the store.
func (v *partVisit) reencryptBatch(ctx context.Context, owner string, t *tenant, names []string, limit int) error {
	err := v.retry(ctx, maxTries, func() (err error) {
		names, err = v.reencryptOnce(ctx, owner, t, names, limit)
		return err
	})
	if err == nil || ctx.Err() != nil || transient(err) {
		return err
	}
	if len(names) == 1 {
		v.countEntry(owner, Key{}, cache.Unchanged, err)
		return nil
	}
	for _, name := range names { // find the entry that makes the batch fail
		if err := v.reencryptBatch(ctx, owner, t, []string{name}, limit); err != nil {
			return err
		}
	}
	return nil
}

// reencryptOnce tries to re-encrypt entries once. It returns the entries that are left with the error. Packages larger
// than limit are processed one by one, as soon as memory is available.
func (v *partVisit) reencryptOnce(ctx context.Context, owner string, t *tenant, names []string, limit int) (left []string, err error) {
	release, err := v.r.Memory.ReserveBackground(ctx, int64(len(names))*int64(limit)*copiesInMemory)
	if err != nil {
		return names, err
	}
	var results []cache.ReencryptResult
	func() {
		defer release() // even after a panic
		results, err = t.cache.Reencrypt(ctx, names, limit, func(class classify.Class, id format.KeyID) bool { return !t.isPrimary(Key{class, ID(id)}) })
	}()
	for i := range results {
		one := &results[i]
		switch {
		case one.Outcome == cache.TooLong:
			if e := v.reencryptBatch(ctx, owner, t, names[i:i+1], one.StoredSize); e != nil {
				left, err = append(left, names[i]), errors.Join(err, e)
			}
		case err != nil && one.Err == nil && one.Outcome != cache.Reencrypted:
			left = append(left, names[i])
		case one.Err != nil && transient(one.Err):
			left, err = append(left, names[i]), errors.Join(err, one.Err)
		default:
			v.countEntry(owner, Key{one.Class, ID(one.KeyID)}, one.Outcome, one.Err)
		}
	}
	return left, err
}

// countEntry counts an entry that was visited.
func (v *partVisit) countEntry(owner string, key Key, outcome cache.Outcome, err error) {
	v.r.updateStats(func(stats *Stats) { stats.Entries.addEntry(outcome, err) })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.addEntry(outcome, err)
	if err == nil && outcome != cache.Reencrypted && outcome != cache.Overwritten {
		return
	}
	n := v.resultLocked(owner)
	n.counts.addEntry(outcome, err)
	if err != nil {
		n.failures[Failure{Key: key, Code: codes.Of(err).Code}]++
	}
	if errors.Is(err, envelope.ErrAuthentication) {
		n.forged++
	}
}

// countForged counts an entry that is not a package of the cache.
func (v *partVisit) countForged(owner string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resultLocked(owner).forged++
}

// resultLocked returns the result of a tenant. v.mu must be held.
func (v *partVisit) resultLocked(owner string) *tenantResult {
	n := v.unsaved[owner]
	if n == nil {
		n = &tenantResult{failures: map[Failure]int{}}
		v.unsaved[owner] = n
	}
	return n
}

// auditResult records once that a sweep found entries of a tenant that were altered, moved or forged, or are under
// unknown keys.
func (v *partVisit) auditResult(ctx context.Context, owner string, n *tenantResult) error {
	unknown := 0
	for failed, entries := range n.failures {
		if failed.Code == envelope.ErrUnknownKey.Code() {
			unknown += entries
		}
	}
	var events []audit.Event
	for code, entries := range map[string]int{envelope.ErrAuthentication.Code(): n.forged, envelope.ErrUnknownKey.Code(): unknown} {
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

// saveProgress saves the results that must be durable, and then the progress of the part. If fault is not nil, the part
// ends early and the sweep is incomplete.
func (v *partVisit) saveProgress(ctx context.Context, cursor string, done bool, fault error) error {
	if err := v.saveResults(ctx, done); err != nil {
		return err
	}
	v.mu.Lock()
	counts := v.counts
	v.mu.Unlock()
	s, err := v.r.editPart(ctx, v.number, v.part.Name, func(s *Sweep, p *sweepPart) {
		p.Cursor, p.Counts, p.Done = []byte(cursor), counts, done
		if fault != nil {
			s.markIncomplete(codes.Of(fault).Meaning) // the error itself is logged
		}
	})
	if err == nil {
		v.r.updateSweepStats(s)
	}
	return err
}

// saveResults saves results in the tenants' records: all, or only those with failures.
func (v *partVisit) saveResults(ctx context.Context, all bool) error {
	v.mu.Lock()
	all = all || len(v.unsaved) > maxUnsavedResults
	saving := map[string]*tenantResult{}
	for owner, n := range v.unsaved {
		if all || len(n.failures) > 0 {
			saving[owner] = n
			delete(v.unsaved, owner)
		}
	}
	v.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentTenants)
	for owner, n := range saving {
		g.Go(recovered(func() error {
			if err := v.retry(ctx, maxTries, func() error { return v.auditResult(ctx, owner, n) }); err != nil {
				return err
			}
			err := v.retry(ctx, maxTries, func() error {
				_, err := v.r.editRecord(ctx, owner, func(record *Record) error {
					if record.ID == "" && len(record.Former) == 0 { // a new record in place of an altered one counts later sweeps only
						return errNothingToDo
					}
					record.addResult(n, v.number)
					return nil
				})
				return err
			})
			if errors.Is(err, errNothingToDo) {
				return nil
			}
			return err
		}))
	}
	return g.Wait()
}
