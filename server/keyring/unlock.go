package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// unlocked is a tenant's keys in memory, as a document has them.
type unlocked struct {
	*Vault
	since    moment                                         // when the KEKs were asked for the roots
	used     atomic.Bool                                    // since then
	left     atomic.Int64                                   // of uses, if the keyring bounds them
	counters [format.NumUses + 1][classify.PHI + 1]*counter // of the primaries that may seal
}

const (
	// retries is how often in a TTL, at least, a tenant is looked at again if its keys were not renewed when that was due.
	retries = 40
	// roomInterval is after what time, at most, a renewal is tried again that the KEKs had no room for.
	roomInterval = 30 * time.Second
)

// unlock returns the keys. It has the KEKs open the tenant's roots, once for all concurrent callers, even if these have gone. An
// error is not kept, so the next call tries again.
func (t *Tenant) unlock(ctx context.Context) (*unlocked, error) {
	t.ring.missed.Add(1)
	landing := t.ring.flights.DoChan(t.id, func() (any, error) {
		if s := t.state.Load(); s != nil && t.spend(s) { // another flight landed since the caller looked
			return s, nil
		}
		ctx, done := t.ring.work()
		defer done()
		if err := t.ring.health.admit(ctx); err != nil {
			return nil, fmt.Errorf("keyring: %s: %w", t.ring.location(t.id), err)
		}
		if err := t.ring.calls.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		defer t.ring.calls.Release(1)
		return t.land(ctx)
	})
	select {
	case landed := <-landing:
		s, _ := landed.Val.(*unlocked)
		return s, landed.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// land has the KEKs open the roots of the tenant's document, which it makes for a new tenant, and makes the keys the current ones.
func (t *Tenant) land(ctx context.Context) (*unlocked, error) {
	for {
		begun := t.ring.now()
		d, _, err := t.ring.read(ctx, t.id)
		if err == nil && d == nil {
			if err = t.restore(ctx); errors.Is(err, ErrNoTenant) {
				err = t.ring.create(ctx, t.id)
			}
			if err == nil {
				continue
			}
		}
		var opened roots
		if err == nil {
			opened, err = t.ring.openAll(ctx, d, nil)
		}
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		s, err := t.adopt(ctx, opened, begun)
		t.mu.Unlock()
		if errors.Is(err, errRoots) { // another process added a root in between
			continue
		}
		if err == nil {
			t.ring.admitted(t)
		}
		return s, err
	}
}

// adopt reconciles the document and makes its keys the current ones, under roots that were opened at a time. It returns errRoots
// if there are keys under others. t.mu must be held.
func (t *Tenant) adopt(ctx context.Context, opened roots, since moment) (*unlocked, error) {
	d, err := t.reconcile(ctx, opened)
	if err != nil {
		return nil, err
	}
	if !covers(d, opened) {
		return nil, errRoots
	}
	v, err := newVault(d, opened)
	if err != nil {
		return nil, t.ring.rejectDamaged(t.id, encoded(d), err)
	}
	t.ring.clearRejected(t.id)
	s := &unlocked{Vault: v, since: since}
	s.left.Store(t.ring.uses)
	for i := range d.Keysets {
		set := &d.Keysets[i]
		if id, err := v.Primary(set.Use, set.Class); err == nil && set.Class.Valid() { // not of the system document
			s.counters[set.Use][set.Class] = t.counter(id)
		}
	}
	former := t.state.Load()
	if former != nil && former.since == since {
		s.used.Store(former.used.Load())
		s.left.Store(former.left.Load())
	} else { // those that were unlocked together are not renewed together
		t.wait(t.ring.ttl*3/5 + rand.N(t.ring.ttl/5+1))
	}
	if former == nil && !t.pinned() {
		t.ring.unlocked.Add(1)
	}
	if t.roots = opened; d.Shredded() {
		t.roots = nil
	}
	t.state.Store(s)
	if former != nil && !v.hasKeysOf(former.Vault) {
		t.dropped()
	}
	return s, nil
}

// tick renews keys that are in use if the KEKs have room, drops those whose time is over, and looks at others again later.
func (t *Tenant) tick() {
	ctx, done := t.ring.work()
	defer done()
	s := t.state.Load()
	if s == nil || t.ring.ctx.Err() != nil {
		return
	}
	again := t.ring.ttl / retries
	if (s.used.Load() || t.pinned()) && !t.expired(s, t.ring.now()) {
		if t.ring.health.spare() && t.ring.calls.TryAcquire(1) {
			_, err := t.land(ctx)
			t.ring.calls.Release(1)
			if err == nil {
				return
			}
		} else {
			again = min(again, roomInterval)
		}
	}
	if !t.mu.TryLock() { // a keystore that does not answer may hold it
		time.AfterFunc(time.Second, t.tick)
		return
	}
	defer t.mu.Unlock()
	if now := t.state.Load(); now == nil || now.since != s.since {
		return // they were dropped, or unlocked again
	}
	if t.expired(s, t.ring.now()) {
		t.drop()
		return
	}
	if left := t.ring.ttl - t.ring.now().since(s.since); !t.pinned() { // more often towards the end
		again = min(again, left/4)
	}
	t.wait(max(again/2+rand.N(max(again, 2)/2), time.Second))
}

// wait has tick called after a time. t.mu must be held.
func (t *Tenant) wait(d time.Duration) {
	if t.ring.ctx.Err() != nil {
		return
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(d, t.tick)
		return
	}
	t.timer.Reset(d)
}

// lock drops the keys from memory.
func (t *Tenant) lock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// drop is lock with t.mu held. The document is forgotten as well, unless keep says otherwise, or the next look is to read it again.
func (t *Tenant) drop() {
	if t.state.Swap(nil) != nil && !t.pinned() {
		t.ring.unlocked.Add(-1)
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.roots = nil
	if !t.keep {
		if t.keep = t.ring.forget(t); !t.keep {
			t.content = nil
		}
	}
	t.dropped()
}
