package rotation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	fullRatePage           = 1000        // entries listed at once at full rate
	limitedPage            = 100         // at a limited rate: small, so that other requests are served in between
	headersPerRead         = 100         // with 1,000, a sweep of a Redis takes a sixth longer
	concurrentReads        = 2           // the store reads one batch while another is in transit
	headerPrefix           = 512         // bytes of a package that contain the header of most packages
	maxHeader              = 32 << 10    // bytes that contain every header
	entriesPerReencryption = 10          // at a limited rate, re-encrypting one entry costs as much as looking at this number
	checkpointInterval     = time.Second // time between two saves of the progress
	defaultRetryWait       = 50 * time.Millisecond
	maxTries               = 10      // of a call of the store, within 25 s; after that the sweep is incomplete
	maxKeyTries            = 4       // of a call for a tenant's keys; after that the tenant's entries count as failed
	maxTenants             = 1 << 17 // tenants whose primaries are kept in memory, about 100 bytes each
)

// partVisit is the work of a process on one part of a sweep.
type partVisit struct {
	r       *Rotator
	number  uint64
	started int64
	part    sweepPart
	limiter *rate.Limiter // nil at full rate

	tenants map[string]*tenant       // tenants of the entries so far
	mu      sync.Mutex               // guards the fields below
	unsaved map[string]*tenantResult // results that are not in the tenants' records yet, by tenant
	counts  Counts
}

// tenant caches the keys of a tenant for one visit. It may be outdated: a rotation that began in the meantime waits for
// a sweep that starts later.
type tenant struct {
	primaries [classify.PHI + 1][8]byte // prefixes of the primaries' ids, by class; ids are random, so 8 bytes distinguish them
	shredded  bool                      // the tenant was shredded or does not exist
	err       error                     // why the keys cannot be used
	record    *Record                   // nil until it is needed
	cache     *cache.Cache              // nil until an entry must be re-encrypted
}

func newVisit(r *Rotator, s *Sweep, p sweepPart) *partVisit {
	v := &partVisit{
		r: r, number: s.Number, started: s.Started, part: p, tenants: map[string]*tenant{}, unsaved: map[string]*tenantResult{}, counts: p.Counts,
	}
	if r.Rate > 0 && !s.FullRate {
		second := r.Rate * entriesPerReencryption
		v.limiter = rate.NewLimiter(rate.Limit(second), min(max(second, limitedPage), fullRatePage))
	}
	return v
}

// waitForRate waits until the rate limit allows n more entries.
func (v *partVisit) waitForRate(ctx context.Context, n int) (err error) {
	if v.limiter == nil {
		return ctx.Err()
	}
	for err == nil && n > 0 {
		allowed := min(n, v.limiter.Burst())
		err = v.limiter.WaitN(ctx, allowed)
		n -= allowed
	}
	return err
}

// run visits the remaining pages of the part. It reads the next page while it processes the current one. If the store
// does not answer, the sweep is incomplete.
func (v *partVisit) run(ctx context.Context, sweeper kv.Sweeper) error {
	ctx, stop := context.WithCancel(ctx)
	pages := make(chan page, 1)
	go v.listPages(ctx, sweeper, pages)
	defer func() {
		stop()
		for range pages { // unblocks listPages until it closes the channel
		}
	}()
	saved := v.r.Now()
	for p := range pages {
		if errors.Is(p.err, kv.ErrCursor) { // the cursor has expired: start again with the first page
			return v.saveProgress(ctx, "", false, nil)
		}
		err := p.err
		if err == nil {
			err = recovered(func() error { return v.visitPage(ctx, p.entries) })()
		}
		if err == nil && p.next != "" {
			if v.r.Now().Sub(saved) < checkpointInterval {
				continue
			}
			saved = v.r.Now()
			if err = v.saveProgress(ctx, p.next, false, nil); err == nil {
				continue
			}
		}
		if err != nil && (ctx.Err() != nil || errors.Is(err, errConcurrentChange)) {
			return err
		}
		return errors.Join(v.saveProgress(ctx, "", true, err), err)
	}
	return ctx.Err()
}

// retry calls do until it succeeds, fails permanently, or has failed the given number of times.
func (v *partVisit) retry(ctx context.Context, tries int, do func() error) error {
	wait := v.r.firstRetryWait
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == tries || !transient(err) || sleep(ctx, wait) != nil {
			return err
		}
		wait *= 2
	}
}

// transient reports whether a later call may succeed. Other errors concern one entry.
func transient(err error) bool {
	return !errors.Is(err, kv.ErrCursor) && (codes.Of(err).Retry || errors.Is(err, kv.ErrFull) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}

// visitPage re-encrypts the entries that are not under the primary of their class.
func (v *partVisit) visitPage(ctx context.Context, all []entry) error {
	if err := v.loadTenants(ctx, all); err != nil {
		return err
	}
	due := map[string][]string{}
	for i := range all {
		e := &all[i]
		if e.stored.Value == nil && e.stored.Prefix == nil {
			continue // the entry was deleted, or was counted as unreadable
		}
		key, isPackage := claimedKey(&e.stored)
		switch t := e.tenant; {
		case !isPackage || t.shredded:
			v.countEntry(e.owner, Key{}, cache.NotAPackage, nil)
			if !t.shredded && t.err == nil && !cache.IsUnencrypted(storedBytes(&e.stored)) {
				v.countForged(e.owner)
			}
		case t.err != nil:
			v.countEntry(e.owner, key, cache.Unchanged, t.err)
		case t.isPrimary(key):
			v.countEntry(e.owner, key, cache.Unchanged, nil)
		default:
			if err := v.recordFormerUse(ctx, e.owner, key); err != nil {
				return err
			}
			due[e.owner] = append(due[e.owner], e.name)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentTenants) // concurrently, because a tenant's keys may need a call of the KMS
	for owner, names := range due {
		g.Go(recovered(func() error { return v.reencrypt(ctx, owner, names) }))
	}
	return g.Wait()
}

// loadTenants sets the tenant of each entry. It reads the keysets of tenants that are new to the visit.
func (v *partVisit) loadTenants(ctx context.Context, all []entry) error {
	if len(v.tenants) > maxTenants {
		clear(v.tenants)
	}
	loading := map[string]*tenant{}
	for i := range all {
		e := &all[i]
		if e.tenant = v.tenants[e.owner]; e.tenant == nil {
			e.tenant = loading[e.owner]
		}
		if e.tenant == nil {
			e.tenant = &tenant{}
			loading[e.owner] = e.tenant
		}
	}
	if len(loading) == 0 {
		return nil
	}
	documents := v.r.Keyring.DocumentsByID(ctx, slices.Collect(maps.Keys(loading)))
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(concurrentTenants)
	for owner, t := range loading {
		if d := documents[owner]; d != nil {
			t.setPrimaries(d)
			continue
		}
		g.Go(recovered(func() error { // the batch may have failed because of another tenant
			var d *envelope.Document
			err := v.retry(ctx, maxKeyTries, func() (err error) { d, err = v.r.Keyring.Document(ctx, owner); return err })
			switch {
			case err == nil:
				t.setPrimaries(d)
			case errors.Is(err, keyring.ErrInvalidTenant):
				t.shredded = true
			default: // missing keysets may come back from a server's memory or from a backup
				t.err = err
			}
			return ctx.Err()
		}))
	}
	if err := g.Wait(); err != nil {
		return err
	}
	maps.Copy(v.tenants, loading)
	return nil
}

// setPrimaries remembers the primaries of a tenant.
func (t *tenant) setPrimaries(d *envelope.Document) {
	if t.shredded = d.Shredded(); t.shredded {
		return
	}
	for i := range d.Keysets {
		if s := &d.Keysets[i]; s.Use == format.UseCache && s.Class.Valid() {
			id := s.Primary()
			t.primaries[s.Class] = [8]byte(id[:])
		}
	}
}

func (t *tenant) isPrimary(key Key) bool {
	return key.Class.Valid() && t.primaries[key.Class] == [8]byte(key.ID[:])
}

// recordFormerUse records that an entry is under a former key under which no process can seal anymore. It does so
// before the entry is re-encrypted, because afterwards nothing shows that the key was in use.
func (v *partVisit) recordFormerUse(ctx context.Context, owner string, key Key) error {
	t := v.tenants[owner]
	needsRecord := func(record *Record) *formerKey {
		if f := record.formerKey(key); f != nil && f.findingCounts(v.number, v.started) && f.LastFoundIn < v.number {
			return f
		}
		return nil
	}
	if t.record != nil && needsRecord(t.record) == nil {
		return nil
	}
	return v.retry(ctx, maxTries, func() error {
		record, err := v.r.editRecord(ctx, owner, func(record *Record) error {
			f := needsRecord(record)
			if f == nil { // a record that replaced an altered one also waits for later sweeps
				return errNothingToDo
			}
			f.LastFoundIn = v.number
			return nil
		})
		if err == nil || errors.Is(err, errNothingToDo) {
			t.record, err = record, nil
		}
		return err
	})
}
