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
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	fullPage    = 1000        // entries that are listed at once at full rate
	ratedPage   = 100         // at a limited rate: few enough that others get their turn
	headBatch   = 100         // entries whose headers are read at once: with 1,000, a sweep of a Redis takes a sixth longer
	readsAtOnce = 2           // batches of headers, so that the store reads one while another one is on its way
	headLimit   = 512         // bytes of a package that hold the headers of most
	longHead    = 32 << 10    // bytes that hold every header
	lookCost    = 10          // entries that are looked at for the price of resealing one, at a limited rate
	checkpoint  = time.Second // between two records of how far a part is
	firstWait   = 50 * time.Millisecond
	tries       = 10      // of a call of the store, within 25 s; then the sweep is incomplete
	keyTries    = 4       // of a call for a tenant's keys; then the sweep is incomplete for the tenant
	maxTenants  = 1 << 17 // whose primaries are in memory, about 100 bytes each
)

// visit is a process's work on one part of a sweep.
type visit struct {
	r      *Rotator
	number uint64
	begun  int64
	part   Part
	limit  *rate.Limiter // nil means full rate

	tenants map[string]*tenant // of the pages so far
	mu      sync.Mutex         // guards the rest
	notes   map[string]*note   // that are not in the tenants' records yet
	counts  Counts
}

// tenant is what a visit knows about an owner of entries. It is as old as the visit at most, which is young enough:
// a rotation that began in the meantime waits for a sweep that starts later.
type tenant struct {
	primaries [classify.PHI + 1][8]byte // the beginnings of the primaries' ids, by class, enough to tell random ids apart
	gone      bool                      // it was shredded, or is no tenant
	err       error                     // its keys cannot be used
	record    *Record                   // nil before it is needed
	cache     *cache.Cache              // nil before an entry is to be resealed
}

func newVisit(r *Rotator, s *Sweep, p Part) *visit {
	v := &visit{
		r: r, number: s.Number, begun: s.Started, part: p, tenants: map[string]*tenant{}, notes: map[string]*note{}, counts: p.Counts,
	}
	if r.Rate > 0 && !s.FullRate {
		second := r.Rate * lookCost
		v.limit = rate.NewLimiter(rate.Limit(second), min(max(second, ratedPage), fullPage))
	}
	return v
}

// wait waits until n entries may be looked at.
func (v *visit) wait(ctx context.Context, n int) (err error) {
	if v.limit == nil {
		return ctx.Err()
	}
	for err == nil && n > 0 {
		some := min(n, v.limit.Burst())
		err = v.limit.WaitN(ctx, some)
		n -= some
	}
	return err
}

// page is entries whose headers were read.
type page struct {
	entries []entry
	next    string // the cursor of the next page, empty after the last one
	err     error
}

// run visits the rest of the part. A store that does not answer makes the sweep incomplete. While a page is visited, the next one
// is read.
func (v *visit) run(ctx context.Context, sweeper kv.Sweeper) error {
	ctx, stop := context.WithCancel(ctx)
	pages := make(chan page, 1)
	go v.list(ctx, sweeper, pages)
	defer func() {
		stop()
		for range pages { // until it is closed
		}
	}()
	saved := v.r.Now()
	for p := range pages {
		if errors.Is(p.err, kv.ErrCursor) { // the part begins again, if the store is still the same
			return v.save(ctx, "", false, nil)
		}
		err := p.err
		if err == nil {
			err = recovered(func() error { return v.visit(ctx, p.entries) })()
		}
		if err == nil && p.next != "" {
			if v.r.Now().Sub(saved) < checkpoint {
				continue
			}
			saved = v.r.Now()
			if err = v.save(ctx, p.next, false, nil); err == nil {
				continue
			}
		}
		if err != nil && (ctx.Err() != nil || errors.Is(err, errMoved)) {
			return err
		}
		return errors.Join(v.save(ctx, "", true, err), err)
	}
	return ctx.Err()
}

// list lists the rest of the part and reads the headers of its entries, until ctx ends. It closes the channel.
func (v *visit) list(ctx context.Context, sweeper kv.Sweeper, pages chan<- page) {
	defer close(pages)
	size := fullPage
	if v.limit != nil {
		size = ratedPage
	}
	for cursor := string(v.part.Cursor); ; {
		var keys []string
		var p page
		p.err = v.again(ctx, tries, recovered(func() (err error) {
			keys, p.next, err = sweeper.SweepPage(ctx, v.part.Name, kv.TenantPrefix, cursor, size)
			return err
		}))
		if p.err == nil {
			p.err = recovered(func() (err error) { p.entries, err = v.heads(ctx, keys); return err })()
		}
		select {
		case pages <- p:
		case <-ctx.Done():
			return
		}
		if cursor = p.next; cursor == "" || p.err != nil {
			return
		}
	}
}

// again calls do until it succeeds, a few times while an error is of the moment.
func (v *visit) again(ctx context.Context, tries int, do func() error) error {
	wait := v.r.wait
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == tries || !transient(err) || sleep(ctx, wait) != nil {
			return err
		}
		wait *= 2
	}
}

// transient reports whether an error is of the moment, and not of the entry.
func transient(err error) bool {
	return !errors.Is(err, kv.ErrCursor) && (codes.Of(err).Retry || errors.Is(err, kv.ErrFull) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}

// entry is an entry of the cache.
type entry struct {
	key, owner, name string
	head             kv.ReadResult
	tenant           *tenant // the owner, once it was met
}

// heads reads the headers of those keys that are entries of the cache.
func (v *visit) heads(ctx context.Context, keys []string) ([]entry, error) {
	if err := v.wait(ctx, len(keys)); err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(keys))
	for _, key := range keys {
		if owner, collection, name, ok := kv.SplitKey(key); ok && collection == cache.Collection {
			all = append(all, entry{key: key, owner: owner, name: name})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for batch := range slices.Chunk(all, headBatch) {
		g.Go(recovered(func() error { return v.read(ctx, batch, headLimit) }))
	}
	return all, g.Wait()
}

// read reads the beginnings of packages. An entry that spoils the answer for all others is counted as unreadable.
func (v *visit) read(ctx context.Context, all []entry, limit int) error {
	keys := make([]string, len(all))
	for i := range all {
		keys[i] = all[i].key
	}
	var heads []kv.ReadResult
	err := v.again(ctx, tries, func() (err error) {
		heads, err = v.r.Store.Read(ctx, keys, limit)
		return err
	})
	if err != nil && (transient(err) || len(all) == 0) {
		return err
	}
	if err != nil && len(all) == 1 {
		v.count(all[0].owner, Key{}, cache.Kept, seal.Stored(err))
		return nil
	}
	for i := range all {
		if err == nil {
			all[i].head = heads[i]
			if heads[i].Prefix == nil || limit == longHead {
				continue
			}
			if _, _, e := format.ParseHeader(heads[i].Prefix); e == nil {
				continue
			}
		}
		again := limit
		if err == nil {
			again = longHead // the header may be longer
		}
		if err := v.read(ctx, all[i:i+1], again); err != nil {
			return err
		}
	}
	return nil
}

// textOf returns what was read of a value.
func textOf(one *kv.ReadResult) []byte {
	if one.Value != nil {
		return one.Value
	}
	return one.Prefix
}

// headOf returns the key of a package of the cache, and reports whether it is one. Nothing of it is authenticated.
func headOf(one *kv.ReadResult) (Key, bool) {
	h, n, err := format.ParseHeader(textOf(one))
	if err == nil {
		err = format.CheckBody(&h, one.Size-n)
	}
	ok := err == nil && h.Source == format.FromKeyset && h.Algorithm != format.Chunked && h.Use == format.UseCache
	return Key{classify.Class(h.Class), ID(h.KeyID)}, ok
}

// visit reseals the entries that are not under the primary of their class.
func (v *visit) visit(ctx context.Context, all []entry) error {
	if err := v.meet(ctx, all); err != nil {
		return err
	}
	due := map[string][]string{}
	for i := range all {
		e := &all[i]
		if e.head.Value == nil && e.head.Prefix == nil {
			continue // it is gone, or was counted as unreadable
		}
		key, isPackage := headOf(&e.head)
		switch t := e.tenant; {
		case !isPackage || t.gone:
			v.count(e.owner, Key{}, cache.Foreign, nil)
			if !t.gone && t.err == nil && !cache.Marked(textOf(&e.head)) {
				v.noteUnsound(e.owner)
			}
		case t.err != nil:
			v.count(e.owner, key, cache.Kept, t.err)
		case t.isPrimary(key):
			v.count(e.owner, key, cache.Kept, nil)
		default:
			if err := v.found(ctx, e.owner, key); err != nil {
				return err
			}
			due[e.owner] = append(due[e.owner], e.name)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce) // else the sweep waits for the KMS for one tenant after another
	for owner, names := range due {
		g.Go(recovered(func() error { return v.reseal(ctx, owner, names) }))
	}
	return g.Wait()
}

// meet reads the keysets of owners that the visit meets for the first time.
func (v *visit) meet(ctx context.Context, all []entry) error {
	if len(v.tenants) > maxTenants {
		clear(v.tenants)
	}
	unknown := map[string]*tenant{}
	for i := range all {
		e := &all[i]
		if e.tenant = v.tenants[e.owner]; e.tenant == nil {
			e.tenant = unknown[e.owner]
		}
		if e.tenant == nil {
			e.tenant = &tenant{}
			unknown[e.owner] = e.tenant
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	documents := v.r.Keyring.DocumentsByID(ctx, slices.Collect(maps.Keys(unknown)))
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce)
	for owner, t := range unknown {
		if d := documents[owner]; d != nil {
			t.introduce(d)
			continue
		}
		g.Go(recovered(func() error { // if only its keysets cannot be read, that concerns this tenant alone
			var d *envelope.Document
			err := v.again(ctx, keyTries, func() (err error) { d, err = v.r.Keyring.Document(ctx, owner); return err })
			switch {
			case err == nil:
				t.introduce(d)
			case errors.Is(err, keyring.ErrInvalidTenant):
				t.gone = true
			default: // keysets that are missing can come back from a server's memory, or from a backup
				t.err = err
			}
			return ctx.Err()
		}))
	}
	if err := g.Wait(); err != nil {
		return err
	}
	maps.Copy(v.tenants, unknown)
	return nil
}

// introduce remembers the primaries of a tenant.
func (t *tenant) introduce(d *envelope.Document) {
	if t.gone = d.Shredded(); t.gone {
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

// found writes down that an entry is under a former key, if no process can seal under the key anymore. It does so before the entry
// is resealed: afterwards nothing would show that it was found.
func (v *visit) found(ctx context.Context, owner string, key Key) error {
	t := v.tenants[owner]
	unnoted := func(record *Record) *FormerKey {
		if f := record.former(key); f != nil && f.notes(v.number, v.begun) && f.LastFoundIn < v.number {
			return f
		}
		return nil
	}
	if t.record != nil && unnoted(t.record) == nil {
		return nil
	}
	return v.again(ctx, tries, func() error {
		record, err := v.r.edit(ctx, owner, func(record *Record) error {
			f := unnoted(record)
			if f == nil { // also in a record that replaces an altered one: it waits for later sweeps than this one
				return errNothing
			}
			f.LastFoundIn = v.number
			return nil
		})
		if err == nil || errors.Is(err, errNothing) {
			t.record, err = record, nil
		}
		return err
	})
}
