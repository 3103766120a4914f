package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// unlocked has a tenant's keys in memory, as of one document.
type unlocked struct {
	*Vault
	since    moment                                         // when the unwrapping of the roots started
	used     atomic.Bool                                    // a key was used since then
	usesLeft atomic.Int64                                   // valid if the keyring limits uses
	counters [format.NumUses + 1][classify.PHI + 1]*counter // of primaries that may seal, by use and class
}

const (
	// renewalRetries is how often per TTL, at least, a renewal is retried after it was due.
	renewalRetries = 40
	// maxRenewalDelay is the longest delay of a renewal that the rate limit of the KEKs postponed.
	maxRenewalDelay = 30 * time.Second
)

// unlock unlocks the tenant and returns its keys. Concurrent callers share one unlock, which continues if their
// contexts end. An error is not kept: the next call tries again.
func (t *Tenant) unlock(ctx context.Context) (*unlocked, error) {
	t.ring.misses.Add(1)
	flight := t.ring.unlocking.DoChan(t.id, func() (any, error) {
		if s := t.state.Load(); s != nil && t.countUse(s) { // another call unlocked it in the meantime
			return s, nil
		}
		ctx, done := t.ring.startWork()
		defer done()
		if err := t.ring.health.waitForPace(ctx); err != nil {
			return nil, fmt.Errorf("keyring: %s: %w", t.ring.location(t.id), err)
		}
		if err := t.ring.unlockSem.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		defer t.ring.unlockSem.Release(1)
		return t.unlockKeys(ctx)
	})
	v, err := waitFor(ctx, flight)
	s, _ := v.(*unlocked)
	return s, err
}

// waitFor returns the result of a call that several callers share, or the error of ctx if that ends first.
func waitFor(ctx context.Context, flight <-chan singleflight.Result) (any, error) {
	select {
	case landed := <-flight:
		return landed.Val, landed.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// unlockKeys has the KEKs unwrap the roots of the tenant's document, which it creates for a new tenant, and makes its
// keys the current ones.
func (t *Tenant) unlockKeys(ctx context.Context) (*unlocked, error) {
	for {
		begun := t.ring.now()
		d, _, err := t.ring.read(ctx, t.id)
		if err == nil && d == nil {
			if err = t.writeBack(ctx); errors.Is(err, ErrNoTenant) {
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
		if errors.Is(err, errUnopenedRoots) { // another process added a root concurrently
			continue
		}
		if err == nil {
			t.ring.trackUnlocked(t)
		}
		return s, err
	}
}

// adopt reconciles the document and makes its keys the current ones. The roots were unwrapped at since. adopt returns
// errUnopenedRoots if keys are under other roots. t.mu must be held.
func (t *Tenant) adopt(ctx context.Context, opened roots, since moment) (*unlocked, error) {
	d, err := t.reconcile(ctx, opened)
	if err != nil {
		return nil, err
	}
	if !opensAllRoots(d, opened) {
		return nil, errUnopenedRoots
	}
	v, err := newVault(d, opened)
	if err != nil {
		return nil, t.ring.rejectDamaged(t.id, encoded(d), err)
	}
	t.ring.clearRejected(t.id)
	s := &unlocked{Vault: v, since: since}
	s.usesLeft.Store(t.ring.maxUses)
	for i := range d.Keysets {
		set := &d.Keysets[i]
		if id, err := v.Primary(ctx, set.Use, set.Class); err == nil && set.Class.Valid() { // the system document has no classes
			s.counters[set.Use][set.Class] = t.counter(id)
		}
	}
	former := t.state.Load()
	if former != nil && former.since == since {
		s.used.Store(former.used.Load())
		s.usesLeft.Store(former.usesLeft.Load())
	} else { // jitter, so that tenants that were unlocked together are not renewed together
		t.scheduleRenewal(t.ring.ttl*3/5 + rand.N(t.ring.ttl/5+1))
	}
	if former == nil && !t.pinned() {
		t.ring.unlocked.Add(1)
	}
	if t.roots = opened; d.Shredded() {
		t.roots = nil
	}
	t.state.Store(s)
	if former != nil && !v.hasKeysOf(former.Vault) {
		t.runDropHooks()
	}
	return s, nil
}

// renewOrDrop renews keys that are in use if the rate limit of the KEKs permits, drops expired keys, and schedules
// its next call.
func (t *Tenant) renewOrDrop() {
	ctx, done := t.ring.startWork()
	defer done()
	s := t.state.Load()
	if s == nil || t.ring.ctx.Err() != nil {
		return
	}
	again := t.ring.ttl / renewalRetries
	if (s.used.Load() || t.pinned()) && !t.expired(s, t.ring.now()) {
		if t.ring.health.allowRenewal() && t.ring.unlockSem.TryAcquire(1) {
			_, err := t.unlockKeys(ctx)
			t.ring.unlockSem.Release(1)
			if err == nil {
				return
			}
		} else {
			again = min(again, maxRenewalDelay)
		}
	}
	if !t.mu.TryLock() { // a call of a keystore that does not answer may hold it
		time.AfterFunc(time.Second, t.renewOrDrop)
		return
	}
	defer t.mu.Unlock()
	if now := t.state.Load(); now == nil || now.since != s.since {
		return // the keys were dropped, or unlocked again
	}
	if t.expired(s, t.ring.now()) {
		t.dropLocked()
		return
	}
	if left := t.ring.ttl - t.ring.now().since(s.since); !t.pinned() { // retry more often when the end of the TTL is near
		again = min(again, left/4)
	}
	t.scheduleRenewal(max(again/2+rand.N(max(again, 2)/2), time.Second))
}

// scheduleRenewal schedules a call of renewOrDrop. t.mu must be held.
func (t *Tenant) scheduleRenewal(d time.Duration) {
	if t.ring.ctx.Err() != nil {
		return
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(d, t.renewOrDrop)
		return
	}
	t.timer.Reset(d)
}

// lock drops the keys from memory.
func (t *Tenant) lock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked()
}

// dropLocked drops the keys from memory, and the document unless keepContent is set or the next check is to reread
// it. t.mu must be held.
func (t *Tenant) dropLocked() {
	if t.state.Swap(nil) != nil && !t.pinned() {
		t.ring.unlocked.Add(-1)
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.roots = nil
	if !t.keepContent {
		if t.keepContent = t.ring.untrack(t); !t.keepContent {
			t.lastContent = nil
		}
	}
	t.runDropHooks()
}
