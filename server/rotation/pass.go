package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
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
