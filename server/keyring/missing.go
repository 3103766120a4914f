package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// missing is the tenants whose documents vanished from the keystore while this process held them.
type missing struct {
	mu       sync.Mutex
	tenants  map[*Tenant]error // why the document could not be written back yet
	restored atomic.Uint64
}

var errVanished = errors.New("it vanished from the keystore")

func (m *missing) note(t *Tenant, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tenants[t] = err
}

func (m *missing) found(t *Tenant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tenants, t)
}

func (m *missing) all() (all []*Tenant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for t := range m.tenants {
		all = append(all, t)
	}
	return all
}

// Missing returns an error while documents are missing that vanished from the keystore, as after a failover to
// a replica that lacks them. The keyring writes them back from memory, and tries until that succeeds.
func (r *Keyring) Missing() error {
	r.missing.mu.Lock()
	defer r.missing.mu.Unlock()
	for t, err := range r.missing.tenants {
		return fmt.Errorf("keyring: %d keysets vanished and are not written back yet, such as %s: %w: %w", len(r.missing.tenants), r.where(t.id), ErrUnreadable, err)
	}
	return nil
}

// Restored returns how many documents are missing, and how many were written back since the keyring was made.
func (r *Keyring) Restored() (missing int, restored uint64) {
	r.missing.mu.Lock()
	defer r.missing.mu.Unlock()
	return len(r.missing.tenants), r.missing.restored.Load()
}

// begin returns the document of a tenant without one in the keystore: a new one if the tenant is new to this
// process, else the one from memory, which is written back.
func (t *Tenant) begin(ctx context.Context) (*envelope.Document, error) {
	if t.seen.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
		d, _, err := t.writeBack(ctx)
		return d, err
	}
	if err := t.ring.Missing(); err != nil { // this one may have vanished as well
		return nil, err
	}
	created := t.ring.create(ctx, t.id)
	d, _, err := t.ring.read(ctx, t.id)
	switch {
	case err == nil && d == nil && created != nil: // else it is there, though the reply was lost
		err = created
	case err == nil && d == nil:
		err = t.ring.unreadable(t.id, errVanished)
	}
	return d, err
}

// writeBack writes the document that is in memory into the keystore, from which it vanished, and returns the
// one that is there then. The document is kept until that succeeds, whatever happens to the keys. t.mu must be held.
func (t *Tenant) writeBack(ctx context.Context) (*envelope.Document, []byte, error) {
	seen := t.lastSeen()
	if seen == nil {
		return nil, nil, t.ring.unreadable(t.id, errors.New("it was removed: restore it from a backup"))
	}
	d, err := t.ring.parse(t.id, seen)
	if err != nil {
		return nil, nil, err
	}
	t.kept = seen
	t.ring.missing.note(t, errVanished)
	swapped, err := t.ring.swap(ctx, d, nil, seen)
	if err == nil && !swapped { // another process was first
		if d, seen, err = t.ring.read(ctx, t.id); err == nil && d == nil {
			err = t.ring.unreadable(t.id, errVanished)
		}
	}
	if err != nil {
		t.ring.missing.note(t, err)
		slog.ErrorContext(ctx, "a keyset vanished from the keystore and cannot be written back yet", "keyset", t.ring.where(t.id), "error", err)
		return nil, nil, err
	}
	if swapped {
		t.ring.missing.restored.Add(1)
		slog.ErrorContext(ctx, "a keyset had vanished from the keystore: this server wrote it back from memory", "keyset", t.ring.where(t.id))
	}
	t.ring.missing.found(t)
	if !d.Shredded() {
		t.kept = nil
	}
	return d, seen, nil
}

// retryMissing tries again to write back the documents that are missing. Unlocked tenants do so as they reload.
func (r *Keyring) retryMissing(ctx context.Context) {
	for _, t := range r.missing.all() {
		if t.state.Load() != nil {
			r.feed.await([]*Tenant{t})
			continue
		}
		t.mu.Lock()
		d, _, err := r.read(ctx, t.id)
		switch {
		case err != nil:
			r.missing.note(t, err)
		case d == nil:
			_, _, _ = t.writeBack(ctx)
		default: // the next unlocking merges what this process had seen
			r.missing.found(t)
		}
		t.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}
