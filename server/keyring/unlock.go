package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// flight is an unlocking that many wait for.
type flight struct {
	done  chan struct{}
	state *unlocked
	err   error
}

// unlock gives the keys, and asks the KEKs for the tenant's roots where they are not in memory, once for all
// who ask meanwhile. A failure is not kept, so the next call tries again.
func (t *Tenant) unlock(ctx context.Context) (*unlocked, error) {
	t.mu.Lock()
	if s := t.state.Load(); s != nil && s.spend(t.ring.uses > 0) { // unlocked since the caller looked
		t.mu.Unlock()
		return s, nil
	}
	f := t.board()
	t.mu.Unlock()
	t.ring.missed.Add(1)
	select {
	case <-f.done:
		return f.state, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// board gives the unlocking that is under way, and begins one where there is none. The caller holds t.mu.
func (t *Tenant) board() *flight {
	if t.flight == nil {
		t.flight = &flight{done: make(chan struct{})}
		go t.fly(t.flight)
	}
	return t.flight
}

func (t *Tenant) fly(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.patience)
	defer cancel()
	for {
		begun := time.Now()
		opened, err := t.open(ctx)
		t.mu.Lock()
		if err == nil {
			f.state, err = t.adopt(ctx, opened, begun)
		}
		if !errors.Is(err, errRoots) { // else another process added a root in between
			f.err = err
			t.flight = nil
			t.mu.Unlock()
			close(f.done)
			return
		}
		t.mu.Unlock()
	}
}

// open has the KEKs open the roots of the tenant's document, which it makes where there never was one.
func (t *Tenant) open(ctx context.Context) (roots, error) {
	d, _, err := t.ring.read(ctx, t.id)
	if err == nil && d == nil && !t.seen.Load() {
		if err = t.ring.create(ctx, t.id); err == nil {
			d, _, err = t.ring.read(ctx, t.id)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return nil, t.ring.unreadable(t.id, errors.New("it was removed: restore it from a backup"))
	}
	opened, err := t.ring.unwrapRoots(ctx, d)
	switch {
	case errors.Is(err, envelope.ErrAuthentication):
		return nil, t.ring.unreadable(t.id, errors.New("its root does not unwrap: it was altered, or is another's"))
	case err != nil:
		return nil, fmt.Errorf("keyring: %s: %w", t.ring.where(t.id), err)
	case !covers(d, opened):
		return nil, fmt.Errorf("keyring: %s: keys are under a KEK that is not configured: %w", t.ring.where(t.id), ErrUnreadable)
	}
	return opened, nil
}

// Reload has the tenant work with its document as it is now, instead of within CheckInterval.
func (t *Tenant) Reload(ctx context.Context) error { return t.reload(ctx) }

// reload looks whether the document is another than the one in memory, and adopts it then. A locked tenant
// stays locked.
func (t *Tenant) reload(ctx context.Context) error {
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
	_, err = t.adopt(ctx, t.roots, s.since)
	if errors.Is(err, errRoots) {
		t.drop() // the next use unlocks it
		return nil
	}
	return err
}

// lastSeen gives the document that is in memory, nil where there is none. That of who was shredded outlasts
// the keys. The caller holds t.mu.
func (t *Tenant) lastSeen() []byte {
	if s := t.state.Load(); s != nil {
		return s.content
	}
	return t.tomb
}

// bringBack merges the document that is in memory into the one that is there now. Documents only ever gain,
// so it changes one only where the store went back to an earlier state, by a snapshot or a replica that
// lacked the last writes: no key that seals is lost then, and no shredding undone.
func (t *Tenant) bringBack(ctx context.Context, seen []byte, now *envelope.Document, content []byte) (*envelope.Document, []byte, error) {
	was, err := t.ring.parse(t.id, seen)
	if err != nil {
		return nil, nil, err
	}
	for {
		if now.Keeps(was) {
			return now, content, nil
		}
		merged, err := envelope.Merge(was, now)
		if err != nil {
			return nil, nil, t.ring.damaged(t.id, err)
		}
		whole, err := merged.Append(nil)
		if err != nil {
			return nil, nil, err
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
			return nil, nil, t.ring.unreadable(t.id, errors.New("it was removed: restore it from a backup"))
		}
	}
}
