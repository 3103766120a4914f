package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// unlock returns the keys. It has the KEKs open the tenant's roots if they are not in memory, once for all
// concurrent callers. An error is not kept, so the next call tries again.
func (t *Tenant) unlock(ctx context.Context) (*unlocked, error) {
	t.ring.missed.Add(1)
	select {
	case landed := <-t.ring.flights.DoChan(t.id, func() (any, error) { return t.fly() }):
		s, _ := landed.Val.(*unlocked)
		return s, landed.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly waits for its turn to ask the KEKs. It goes on when its callers have gone: the next one finds the keys.
func (t *Tenant) fly() (*unlocked, error) {
	if s := t.state.Load(); s != nil && t.spend(s) { // another flight landed since the caller looked
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.patience)
	defer cancel()
	if err := t.ring.health.admit(ctx); err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", t.ring.where(t.id), err)
	}
	return t.land(ctx)
}

// land has the KEKs open the roots and makes the keys the current ones.
func (t *Tenant) land(ctx context.Context) (*unlocked, error) {
	if err := t.ring.calls.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer t.ring.calls.Release(1)
	for {
		begun := time.Now()
		opened, err := t.open(ctx)
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

// open has the KEKs open the roots of the tenant's document, which it makes where there never was one.
func (t *Tenant) open(ctx context.Context) (roots, error) {
	d, _, err := t.ring.read(ctx, t.id)
	if err == nil && d == nil {
		d, err = t.begin(ctx)
	}
	if err != nil {
		return nil, err
	}
	opened, err := t.ring.unwrapRoots(ctx, d, nil)
	switch {
	case errors.Is(err, envelope.ErrAuthentication):
		return nil, t.ring.unreadable(t.id, errors.New("its root does not unwrap: it was altered, or is another's"))
	case err != nil:
		return nil, fmt.Errorf("keyring: %s: %w", t.ring.where(t.id), err)
	case !covers(d, opened):
		return nil, t.ring.unreadable(t.id, errUnopened)
	}
	return opened, nil
}

// Reload has the tenant work with its document as it is now, instead of within CheckInterval.
func (t *Tenant) Reload(ctx context.Context) error { return t.reload(ctx, nil) }

// reload adopts the document if it is another than the one in memory. It may be under more roots than those in memory. A locked
// tenant stays locked.
func (t *Tenant) reload(ctx context.Context, more roots) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state.Load()
	if s == nil {
		return nil
	}
	content, err := t.ring.store.Get(ctx, keystore.Keysets, t.id)
	if err != nil || bytes.Equal(content, s.content) {
		return err
	}
	opened := maps.Clone(t.roots)
	maps.Copy(opened, more)
	_, err = t.adopt(ctx, opened, s.since)
	if errors.Is(err, errRoots) {
		t.kept = s.content // or a record under an unknown root would let an earlier document pass
		t.drop()           // the next use unlocks it
		return nil
	}
	return err
}

// lastSeen returns the document that is in memory, nil if it is not. The document of a shredded tenant, and
// one that vanished or came under other roots, outlast the keys. t.mu must be held.
func (t *Tenant) lastSeen() []byte {
	if s := t.state.Load(); s != nil {
		return s.content
	}
	return t.kept
}

// bringBack merges the document that is in memory into the one that is there now. Documents only ever gain,
// so it changes one only where the store went back to an earlier state, by a snapshot or a replica that
// lacked the last writes: no key that seals is lost then, and no shredding undone.
//
// It returns errRoots if the document that is there now is under roots that are not open: it is verified before it is merged.
func (t *Tenant) bringBack(
	ctx context.Context, seen []byte, now *envelope.Document, content []byte, opened roots,
) (*envelope.Document, []byte, error) {
	was, err := t.ring.parse(t.id, seen)
	if err != nil {
		return nil, nil, err
	}
	opened = maps.Clone(opened)
	if opened == nil {
		opened = roots{}
	}
	maps.Copy(opened, t.roots)
	if !covers(was, opened) {
		if opened, err = t.ring.unwrapRoots(ctx, was, opened); err != nil {
			return nil, nil, err
		}
		if !covers(was, opened) {
			return nil, nil, t.ring.unreadable(t.id, errUnopened)
		}
	}
	for {
		if !covers(now, opened) {
			return nil, nil, errRoots
		}
		if err := t.ring.verify(ctx, now, opened); err != nil {
			return nil, nil, err
		}
		merged, err := t.ring.merge(ctx, was, now, opened)
		if err != nil {
			return nil, nil, t.ring.damaged(t.id, err)
		}
		whole, err := merged.Append(nil)
		if err != nil {
			return nil, nil, err
		}
		if bytes.Equal(whole, content) {
			return now, content, nil
		}
		swapped, err := t.ring.swap(ctx, merged, content, whole)
		if err != nil {
			return nil, nil, err
		}
		if swapped {
			slog.ErrorContext(ctx, "the store of keysets went back to an earlier state: what this server had seen since was written again", "keyset", t.ring.where(t.id))
			return merged, whole, nil
		}
		if now, content, err = t.ring.read(ctx, t.id); err != nil { // another process came in between
			return nil, nil, err
		}
		if now == nil {
			return t.writeBack(ctx)
		}
	}
}
