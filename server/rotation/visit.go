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
	pageSize   = 1000
	headBatch  = 100         // entries whose headers are read at once: few enough that others get their turn
	readsAhead = 2           // batches that wait to be visited
	fullFactor = 4           // batches are as many times larger at full rate
	headLimit  = 512         // bytes of a package that hold the headers of most
	longHead   = 32 << 10    // bytes that hold every header
	lookCost   = 10          // entries that are looked at for the price of resealing one, at a limited rate
	checkpoint = time.Second // between two records of how far a part is
	firstWait  = 50 * time.Millisecond
	tries      = 10      // of a call of the store, within 25 s; then the sweep is incomplete
	keyTries   = 4       // of a call for a tenant's keys; then the sweep is incomplete for the tenant
	maxTenants = 1 << 17 // whose primaries are in memory, about 100 bytes each
	maxNotes   = 1 << 14 // tenants whose counts are in memory
)

// visit is a process's work on one part of a sweep.
type visit struct {
	r      *Rotator
	number uint64
	begun  int64
	part   Part
	limit  *rate.Limiter

	tenants map[string]*tenant // of the pages so far
	notes   map[string]*note   // that are not in the tenants' records yet
	counts  Counts
	room    int
	mu      sync.Mutex // guards notes and counts
}

// tenant is what a visit knows about an owner of entries. It is as old as the visit at most, which is young enough:
// a rotation that began in the meantime waits for a sweep that starts later.
type tenant struct {
	primaries [classify.PHI + 1]uint64 // the beginnings of the primaries' ids, by class; 0 if there is none
	gone      bool                     // it was shredded, or is no tenant
	err       error                    // its keys cannot be used
	record    *Record                  // nil before it is asked for, and if no rotation is under way
	asked     bool
	cache     *cache.Cache // nil before an entry is to be resealed
}

// note is what a visit found out about a tenant.
type note struct {
	failures map[Failed]int // with Entries 0
	counts   Counts
	urgent   bool // it has to be durable before the next checkpoint
}

func newVisit(r *Rotator, s *Sweep, p Part) *visit {
	v := &visit{
		r: r, number: s.Number, begun: s.Started, part: p, limit: rate.NewLimiter(rate.Inf, 0), tenants: map[string]*tenant{},
		notes: map[string]*note{}, counts: p.Counts, room: -1,
	}
	if r.Rate > 0 && !s.Full {
		v.limit = rate.NewLimiter(rate.Limit(r.Rate*lookCost), headBatch)
	}
	return v
}

// sized returns the size of a batch, which is larger at full rate.
func (v *visit) sized(batch int) int {
	if v.limit.Limit() == rate.Inf {
		batch *= fullFactor
	}
	return batch
}

// run visits the rest of the part. A store that does not answer makes the sweep incomplete. Entries are read ahead of those that are
// visited.
func (v *visit) run(ctx context.Context, sweeper kv.Sweeper) error {
	ctx, stop := context.WithCancel(ctx)
	ahead := make(chan chan batch, readsAhead)
	go v.readAhead(ctx, sweeper, ahead)
	defer func() {
		stop()
		for range ahead { // until it is closed
		}
	}()
	saved := v.r.Now()
	for read := range ahead {
		b := <-read
		if b.restart { // if the store is still the same
			return v.save(ctx, "", false, nil)
		}
		err := b.err
		if err == nil {
			err = v.visit(ctx, b.entries)
		}
		if err == nil && b.ends && b.next != "" && v.r.Now().Sub(saved) >= checkpoint {
			saved = v.r.Now()
			err = v.save(ctx, b.next, false, nil)
		}
		if err != nil && (ctx.Err() != nil || errors.Is(err, errMoved)) {
			return err
		}
		if err != nil || b.ends && b.next == "" {
			return errors.Join(v.save(ctx, "", true, err), err)
		}
	}
	return ctx.Err()
}

// batch is entries whose headers were read.
type batch struct {
	entries []entry
	ends    bool   // they are the last ones of a page
	next    string // the cursor of the next page, empty after the last one
	restart bool   // the part cannot be continued from its cursor
	err     error
}

// readAhead lists the entries of the rest of the part and reads their headers, until ctx ends: a few batches at once at full rate, and
// one by one at a limited rate, so that others get their turn. It closes the channel.
func (v *visit) readAhead(ctx context.Context, sweeper kv.Sweeper, ahead chan<- chan batch) {
	defer close(ahead)
	var reads sync.WaitGroup
	defer reads.Wait()
	queue := func(do func() batch) bool {
		read := make(chan batch, 1)
		select {
		case ahead <- read:
			if v.limit.Limit() == rate.Inf {
				reads.Go(func() { read <- do() })
			} else {
				read <- do()
			}
			return true
		case <-ctx.Done():
			return false
		}
	}
	for cursor := string(v.part.Cursor); ; {
		var keys []string
		var next string
		err := v.again(ctx, tries, func() (err error) {
			keys, next, err = sweeper.SweepPage(ctx, v.part.Name, kv.Root, cursor, pageSize)
			return err
		})
		if err != nil {
			queue(func() batch { return batch{err: err, restart: errors.Is(err, kv.ErrCursor) && cursor != ""} })
			return
		}
		for ends := false; !ends; {
			part := keys[:min(len(keys), v.sized(headBatch))]
			keys = keys[len(part):]
			ends = len(keys) == 0
			last := ends
			if !queue(func() batch {
				entries, err := v.heads(ctx, part)
				return batch{entries: entries, ends: last, next: next, err: err}
			}) {
				return
			}
		}
		if cursor = next; cursor == "" {
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
	return !errors.Is(err, kv.ErrCursor) && (codes.Of(err).Retry || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}

// entry is an entry of the cache.
type entry struct {
	key, owner, name string
	head             kv.Sized
}

// heads reads the headers of those keys that are entries of the cache.
func (v *visit) heads(ctx context.Context, keys []string) ([]entry, error) {
	if err := v.limit.WaitN(ctx, len(keys)); err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(keys))
	for _, key := range keys {
		if owner, collection, name, ok := kv.SplitKey(key); ok && collection == cache.Collection {
			all = append(all, entry{key: key, owner: owner, name: name})
		}
	}
	return all, v.read(ctx, all, headLimit)
}

// visit reseals the entries that are not under the primary of their class.
func (v *visit) visit(ctx context.Context, all []entry) error {
	if err := v.meet(ctx, all); err != nil {
		return err
	}
	due := map[string][]string{}
	for i := range all {
		e := &all[i]
		if e.head.Value == nil && e.head.Begin == nil {
			continue // it is gone, or was counted as unreadable
		}
		key, isPackage := headOf(&e.head)
		switch t := v.tenants[e.owner]; {
		case !isPackage || t.gone:
			v.count(e.owner, Key{}, cache.Foreign, nil)
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
	for owner, names := range due {
		if err := v.reseal(ctx, owner, names); err != nil {
			return err
		}
	}
	return nil
}

// read reads the beginnings of packages. An entry that spoils the answer for all others is counted as unreadable.
func (v *visit) read(ctx context.Context, all []entry, limit int) error {
	keys := make([]string, len(all))
	for i := range all {
		keys[i] = all[i].key
	}
	var heads []kv.Sized
	err := v.again(ctx, tries, func() (err error) {
		heads, err = v.r.Store.Read(ctx, keys, limit)
		return err
	})
	switch {
	case err != nil && transient(err):
		return err
	case err != nil && len(all) == 1:
		v.count(all[0].owner, Key{}, cache.Kept, err)
		return nil
	case err != nil:
		for i := range all {
			if err := v.read(ctx, all[i:i+1], limit); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range all {
		if all[i].head = heads[i]; heads[i].Begin == nil || limit == longHead {
			continue
		}
		if _, _, err := format.ParseHeader(heads[i].Begin); err != nil { // the header may be longer
			if err := v.read(ctx, all[i:i+1], longHead); err != nil {
				return err
			}
		}
	}
	return nil
}

// headOf returns the key of a package of the cache, and reports whether it is one. Nothing of it is authenticated.
func headOf(one *kv.Sized) (Key, bool) {
	text := one.Value
	if text == nil {
		text = one.Begin
	}
	h, n, err := format.ParseHeader(text)
	if err == nil {
		err = format.CheckBody(&h, one.Size-n)
	}
	ok := err == nil && h.Source == format.FromKeyset && h.Algorithm != format.Chunked && h.Use == format.UseCache
	return Key{classify.Class(h.Class), ID(h.KeyID)}, ok
}

// meet reads the keysets of owners that the visit meets for the first time.
func (v *visit) meet(ctx context.Context, all []entry) error {
	if len(v.tenants) > maxTenants {
		clear(v.tenants)
	}
	unknown := map[string]*tenant{}
	for i := range all {
		if owner := all[i].owner; v.tenants[owner] == nil && unknown[owner] == nil {
			unknown[owner] = &tenant{}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	documents := v.r.Ring.DocumentsOf(ctx, slices.Collect(maps.Keys(unknown)))
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce)
	for owner, t := range unknown {
		if d := documents[owner]; d != nil {
			v.introduced(t, d)
			continue
		}
		g.Go(func() error { return v.introduce(ctx, owner, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	maps.Copy(v.tenants, unknown)
	return nil
}

// introduce reads the keysets of one tenant. If only they cannot be read, that concerns this tenant alone.
func (v *visit) introduce(ctx context.Context, owner string, t *tenant) error {
	var d *envelope.Document
	err := v.again(ctx, keyTries, func() (err error) { d, err = v.r.Ring.Document(ctx, owner); return err })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, keyring.ErrTenant):
		t.gone = true
	case err != nil: // keysets that are missing can come back from a server's memory, or from a backup
		t.err = err
	default:
		v.introduced(t, d)
	}
	return nil
}

// introduced remembers the primaries of a tenant.
func (v *visit) introduced(t *tenant, d *envelope.Document) {
	if d.Shredded() {
		t.gone = true
		return
	}
	for i := range d.Keysets {
		if s := &d.Keysets[i]; s.Use == format.UseCache && s.Class.Valid() {
			t.primaries[s.Class] = beginning(ID(s.Primary()))
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if room := d.Room(); v.room < 0 || room < v.room {
		v.room = room
	}
}

func (t *tenant) isPrimary(key Key) bool {
	return key.Class.Valid() && t.primaries[key.Class] == beginning(key.ID)
}

// beginning returns the first bytes of a key id, enough to tell keys apart: ids are derived from random keys.
func beginning(id ID) (n uint64) {
	for _, b := range id[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}

// reseal brings a tenant's entries under the primaries of their classes.
func (v *visit) reseal(ctx context.Context, owner string, names []string) error {
	t := v.tenants[owner]
	if t.cache == nil && t.err == nil {
		t.err = v.again(ctx, keyTries, func() (err error) { t.cache, err = v.r.unlock(ctx, owner); return err })
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
	size := max(1, min(int64(v.sized(batchSize)), v.r.Memory.Share()/(batchLimit*copies)))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for len(names) > 0 {
		batch := names[:min(len(names), int(size))]
		names = names[len(batch):]
		g.Go(func() error {
			if err := v.limit.WaitN(ctx, len(batch)*(lookCost-1)); err != nil {
				return err
			}
			return v.resealBatch(ctx, owner, t, batch, batchLimit)
		})
	}
	return g.Wait()
}

// found writes down that an entry is under a former key, if the sweep counts for the key. It does so before the entry
// is resealed: afterwards nothing would show what was found.
func (v *visit) found(ctx context.Context, owner string, key Key) error {
	record, err := v.recordOf(ctx, owner)
	if err != nil || record == nil {
		return err
	}
	if f := record.former(key); f == nil || !f.notes(v.number, v.begun) || f.FoundIn >= v.number {
		return nil
	}
	return v.again(ctx, tries, func() error {
		now, err := v.r.edit(ctx, owner, func(record *Record) error {
			if f := record.former(key); f != nil {
				f.FoundIn = max(f.FoundIn, v.number)
			}
			return nil
		})
		if err == nil {
			v.tenants[owner].record = now
		}
		return err
	})
}

// recordOf returns a tenant's record, nil if there is none.
func (v *visit) recordOf(ctx context.Context, owner string) (*Record, error) {
	t := v.tenants[owner]
	if t.asked {
		return t.record, nil
	}
	err := v.again(ctx, tries, func() error {
		record, content, err := v.r.read(ctx, owner)
		if err == nil && content != nil {
			t.record = record
		}
		return err
	})
	t.asked = err == nil
	return t.record, err
}
