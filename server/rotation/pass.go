package rotation

import (
	"context"
	"errors"
	"sync"
	"time"

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
	atOnce     = 4               // entries, which are in memory then
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

	primaries map[classify.Class]format.KeyID

	mu     sync.Mutex
	record *Record // as it will be at the next checkpoint
}

// pass goes on through the entries from where the record says, and reports whether it came to their end; else its time was over.
func (r *Rotator) pass(ctx context.Context, record *Record) (*Record, bool, error) {
	t, err := r.Ring.Tenant(ctx, record.Tenant)
	if err != nil {
		return record, false, err
	}
	limit, size := rate.Inf, pageSize
	if r.Rate > 0 && !record.Compromised {
		limit, size = rate.Limit(r.Rate), min(r.Rate, pageSize) // so that a page takes no more than a second
	}
	p := &pass{
		r: r, tenant: t, record: record, size: size, cache: cache.New(r.Store, seal.NewSealer(t), r.Cache...),
		limit: rate.NewLimiter(limit, max(1, r.Rate/10)),
	}
	if len(record.Cursor) == 0 {
		if err := p.count(ctx); err != nil {
			return record, false, err
		}
	}
	return p.run(ctx)
}

// count says how many entries there are. What came to nothing under an earlier cursor is counted anew.
func (p *pass) count(ctx context.Context) error {
	p.record.Counts, p.record.Failures = Counts{}, nil
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
			p.record.Cursor, p.record.Counts, p.record.Failures = nil, Counts{Total: p.record.Counts.Total}, nil
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
		if err := p.save(ctx); err != nil || time.Since(begun) >= slice {
			return p.record, false, err
		}
		saved = time.Now()
	}
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
		record.Cursor, record.Counts, record.Failures = now.Cursor, now.Counts, now.Failures
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

// page brings the entries under some keys under their classes' primaries, several at once.
func (p *pass) page(ctx context.Context, keys []string) error {
	queue, failed := make(chan string), make(chan error, atOnce)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			var err error
			for key := range queue {
				if err == nil {
					err = p.entry(ctx, key)
				}
			}
			failed <- err
		})
	}
	for _, key := range keys {
		queue <- key
	}
	close(queue)
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// entry tries until the store and the keys answer. An error of the entry itself is counted.
func (p *pass) entry(ctx context.Context, key string) error {
	if err := p.limit.Wait(ctx); err != nil {
		return err
	}
	for wait := firstWait; ; wait = min(2*wait, longest) {
		entry, did, err := p.cache.Reseal(ctx, key, p.due)
		switch {
		case err == nil || !again(err):
			p.note(&entry, did, err)
			return nil
		case sleep(ctx, wait) != nil:
			return ctx.Err()
		}
	}
}

func (p *pass) note(entry *cache.Entry, did cache.Resealed, err error) {
	p.r.count(did, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	c, key := &p.record.Counts, Key{entry.Class, ID(entry.KeyID)}
	c.add(did, err)
	if did != cache.Foreign && p.record.former(key.Class, format.KeyID(key.ID)) {
		c.Former++
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
