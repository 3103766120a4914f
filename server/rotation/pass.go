package rotation

import (
	"context"
	"errors"
	"fmt"
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
	pageSize   = 256
	atOnce     = 2               // batches, so that one is sealed while the store has the other
	batchSize  = 8               // entries: few enough that what others want of the store comes in between
	batchLimit = 16 << 10        // bytes of a package; a longer one comes alone
	copies     = 3               // of a package are in memory: as it was, opened, and sealed anew
	checkpoint = time.Second     // between two records of how far a pass is
	slice      = 5 * time.Second // after which another tenant has its turn
	firstWait  = 100 * time.Millisecond
	longest    = 10 * time.Second // between two tries of a store that does not answer
	tries      = 8                // of a cursor, before the entries are gone through from the beginning
)

// pass is one go, or a part of one, through a tenant's entries.
type pass struct {
	r      *Rotator
	tenant *keyring.Tenant
	cache  *cache.Cache
	limit  *rate.Limiter
	size   int // of a page
	batch  int

	primaries map[classify.Class]format.KeyID

	mu     sync.Mutex
	record *Record // as it will be at the next checkpoint
}

// pass goes on through the entries from where the record says, and reports whether it came to their end; else
// its time was over.
func (r *Rotator) pass(ctx context.Context, record *Record) (*Record, bool, error) {
	t, err := r.Ring.Tenant(ctx, record.Tenant)
	if err != nil {
		return record, false, err
	}
	limit, size := rate.Inf, pageSize
	if r.Rate > 0 && !record.Compromised {
		limit, size = rate.Limit(r.Rate), min(r.Rate, pageSize) // so that a page takes no more than a second
	}
	burst := max(1, r.Rate/10)
	p := &pass{
		r: r, tenant: t, record: record, size: size, batch: batchSize, cache: cache.New(r.Store, seal.NewSealer(t), r.Cache...),
		limit: rate.NewLimiter(limit, burst),
	}
	if limit != rate.Inf {
		p.batch = min(p.batch, burst)
	}
	p.batch = int(max(1, min(int64(p.batch), r.Memory.Share()/(batchLimit*copies))))
	if record.State != Reencrypting && !r.whole(record) {
		record.Cursor = nil
	}
	if len(record.Cursor) == 0 {
		if err := p.count(ctx); err != nil {
			return record, false, err
		}
	}
	return p.run(ctx)
}

// count says how many entries there are. What came to nothing under an earlier cursor, or was broken off, is
// counted anew.
func (p *pass) count(ctx context.Context) error {
	p.record.Counts, p.record.Failures, p.record.Found = Counts{}, nil, nil
	for cursor := ""; ; {
		keys, next, err := p.list(ctx, cursor, kv.DefaultScanLimit)
		if errors.Is(err, errCursor) {
			p.record.Counts.Total, cursor = 0, ""
			continue
		}
		if err != nil {
			return err
		}
		p.record.Counts.Total += len(keys)
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

func (p *pass) run(ctx context.Context) (*Record, bool, error) {
	begun, saved := time.Now(), time.Now()
	for {
		keys, next, err := p.list(ctx, string(p.record.Cursor), p.size)
		if errors.Is(err, errCursor) {
			c := &p.record.Counts // what something was found under stays so
			p.record.Cursor, p.record.Counts, p.record.Failures = nil, Counts{Total: c.Total, Former: c.Former}, nil
			continue
		}
		if err == nil {
			err = p.look(ctx)
		}
		if err == nil {
			err = p.page(ctx, keys)
		}
		if err != nil {
			return p.record, false, err
		}
		p.record.Cursor = []byte(next)
		if next == "" {
			return p.record, true, nil
		}
		if time.Since(saved) < checkpoint {
			continue
		}
		if err := p.save(ctx); err != nil {
			return p.record, false, err
		}
		if time.Since(begun) >= slice {
			p.r.pause(p.record)
			return p.record, false, nil
		}
		saved = time.Now()
	}
}

// place names how far a scan is.
func place(record *Record) string {
	return fmt.Sprint(record.ID, record.State, record.Next, record.Cursor)
}

// pause has the scan go on from where it is.
func (r *Rotator) pause(record *Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused[record.Tenant] = place(record)
}

// whole reports whether a scan that is to go on was paused there by this process. One that was broken off may
// have found, and sealed anew, what was not written down any more, so it begins anew.
func (r *Rotator) whole(record *Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	paused := r.paused[record.Tenant]
	delete(r.paused, record.Tenant)
	return paused == place(record)
}

// look sees which keys are the primaries now.
func (p *pass) look(ctx context.Context) error {
	d, err := p.r.Ring.Document(ctx, p.tenant.Owner())
	if err != nil {
		return err
	}
	if d.Shredded() {
		return envelope.ErrKeyDestroyed
	}
	p.primaries = map[classify.Class]format.KeyID{}
	for i := range d.Keysets {
		if s := &d.Keysets[i]; s.Use == format.UseCache {
			p.primaries[s.Class] = s.Primary
		}
	}
	return p.tenant.Reload(ctx)
}

// due reports whether an entry is not under its class's primary.
func (p *pass) due(class classify.Class, id format.KeyID) bool { return p.primaries[class] != id }

// save writes down how far it is. It ends where the rotation is no longer the same, or another process is at work.
func (p *pass) save(ctx context.Context) error {
	now := p.record
	saved, err := p.r.advance(ctx, now, func(record *Record) {
		record.Cursor, record.Counts, record.Failures, record.Found = now.Cursor, now.Counts, now.Failures, now.Found
	})
	if err != nil {
		return err
	}
	p.record = saved
	p.r.seeOne(saved)
	mine, err := p.r.hold(ctx)
	if err == nil && !mine {
		err = errMoved
	}
	return err
}

// page brings the entries under some keys under their classes' primaries.
func (p *pass) page(ctx context.Context, keys []string) error {
	slices.Sort(keys)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for batch := range slices.Chunk(slices.Compact(keys), p.batch) {
		g.Go(func() error {
			if err := p.limit.WaitN(ctx, len(batch)); err != nil {
				return err
			}
			return p.entries(ctx, batch, batchLimit)
		})
	}
	return g.Wait()
}

// large is an entry that is longer than what a batch takes.
type large struct {
	key   string
	bytes int
}

// entries tries until the store and the keys answer. Packages longer than limit come one by one, as soon as
// there is room for them.
func (p *pass) entries(ctx context.Context, keys []string, limit int) error {
	for wait := firstWait; ; wait = min(2*wait, longest) {
		left, larger, err := p.try(ctx, keys, limit)
		for _, one := range larger {
			if err := p.entries(ctx, []string{one.key}, one.bytes); err != nil {
				return err
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case err != nil && !again(err): // one of them spoils the answer of all
			for _, key := range left {
				if err := p.entries(ctx, []string{key}, limit); err != nil {
					return err
				}
			}
			return nil
		case sleep(ctx, wait) != nil:
			return ctx.Err()
		}
		keys = left
	}
}

// try goes over some entries once and notes what became of them. It gives those that are left, with the error
// that did it, and those that are longer than limit. An error of an entry itself is counted.
func (p *pass) try(ctx context.Context, keys []string, limit int) (left []string, larger []large, err error) {
	giveBack, err := p.r.Memory.Await(ctx, int64(len(keys))*int64(limit)*copies)
	if err != nil {
		return keys, nil, err
	}
	defer giveBack()
	results, err := p.cache.Reseal(ctx, keys, limit, p.due)
	for i := range results {
		one := &results[i]
		if err != nil && len(keys) == 1 && !again(err) {
			one.Err = err
		}
		switch {
		case one.Did == cache.Large:
			larger = append(larger, large{keys[i], one.Bytes})
		case one.Err != nil && again(one.Err), err != nil && one.Err == nil && one.Did != cache.Anew:
			left = append(left, keys[i])
		default:
			p.note(&one.Entry, one.Did, one.Err)
		}
	}
	return left, larger, err
}

func (p *pass) note(entry *cache.Entry, did cache.Resealed, err error) {
	p.r.count(did, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	c, key := &p.record.Counts, Key{entry.Class, ID(entry.KeyID)}
	c.add(did, err)
	if did != cache.Foreign && p.record.Retires(key) {
		if c.Former++; !slices.Contains(p.record.Found, key) {
			p.record.Found = append(p.record.Found, key)
		}
	}
	if err != nil {
		p.record.note(key, codes.Of(err).Code)
	}
}

// errCursor says that the entries have to be gone through from the beginning.
var errCursor = errors.New("rotation: the cursor is lost")

// list gives a page of keys, and tries until the store answers.
func (p *pass) list(ctx context.Context, cursor string, limit int) (keys []string, next string, err error) {
	wait := firstWait
	for try := 1; ; try++ {
		keys, next, err = p.cache.List(ctx, "", cursor, limit)
		switch {
		case err == nil:
			return keys, next, nil
		case cursor != "" && (errors.Is(err, kv.ErrCursor) || try == tries): // such as that of a server that has left the cluster
			return nil, "", errCursor
		case !again(err):
			return nil, "", err
		case sleep(ctx, wait) != nil:
			return nil, "", ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// again reports whether an error is of the moment, and not of what is there.
func again(err error) bool {
	return codes.Of(err).Retry || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
