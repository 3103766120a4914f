package keyring

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Tenant is one tenant's keys. It is a seal.Keys that makes the key of a use and class when it is first asked for, and
// is safe for concurrent use. Its methods unlock it again where its keys were dropped, and wait for the KEK then.
type Tenant struct {
	ring  *Keyring
	id    string
	state atomic.Pointer[unlocked] // nil: locked
	seen  atomic.Bool              // it had a document once

	mu    sync.Mutex // held while the document is read into state, so that a later state is never an earlier document's
	roots roots      // in memory with the keys, to wrap new ones
	kept  []byte     // the document of a shredded tenant, or one that vanished or came under other roots, also when locked
	drops dropHooks
}

// unlocked is a tenant's keys in memory, as a document has them.
type unlocked struct {
	*Vault
	content  []byte // the document
	since    time.Time
	renewal  time.Time // when the keys are renewed if they are in use
	used     atomic.Bool
	left     atomic.Int64 // uses, where the keyring bounds them
	counters [format.Uses + 1][classify.PHI + 1]*counter
}

// Owner is the tenant's id.
func (t *Tenant) Owner() string { return t.id }

// Primary names the key that seals for a use and class. Where there is none yet, one is made and is durable
// before this returns. It returns envelope.ErrKeyUnusable where the primary may not seal,
// envelope.ErrKeyDestroyed for a tenant that was shredded, ErrUnreadable, and the errors of the KEK.
func (t *Tenant) Primary(use format.Use, class classify.Class) (format.KeyID, error) {
	s, err := t.ready()
	if err != nil {
		return format.KeyID{}, err
	}
	id, err := s.Primary(use, class)
	if err == nil {
		s.counters[use][class].count()
		return id, nil
	}
	if !s.lacks(use, class) {
		return id, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.patience)
	defer cancel()
	if err := t.add(ctx, []format.Use{use}, []classify.Class{class}); err != nil {
		return format.KeyID{}, err
	}
	return t.Primary(use, class)
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen. An unknown key may be
// another process's, so the document is looked at again.
func (t *Tenant) CheckOpen(h *format.Header, want envelope.Demand) error {
	s, err := t.ready()
	if err != nil {
		return err
	}
	if err = s.CheckOpen(h, want); err != envelope.ErrUnknownKey || h.Source != format.FromKeyset {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.patience)
	defer cancel()
	if err := t.reload(ctx, nil); err != nil {
		return err
	}
	if s, err = t.ready(); err != nil {
		return err
	}
	return s.CheckOpen(h, want)
}

// MessageCipher is the cipher of a key's packages under one salt; envelope.ErrUnknownKey where there is no such key.
func (t *Tenant) MessageCipher(id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	s := t.state.Load()
	if s == nil {
		var err error
		if s, err = t.ready(); err != nil {
			return nil, err
		}
	}
	return s.MessageCipher(id, salt)
}

// ready gives the keys, for one use.
func (t *Tenant) ready() (*unlocked, error) {
	s := t.state.Load()
	if s != nil && t.spend(s) {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.patience)
	defer cancel()
	return t.unlock(ctx)
}

// spend counts a use of keys, and reports whether they may be used.
func (t *Tenant) spend(s *unlocked) bool {
	if !s.used.Load() {
		s.used.Store(true)
	}
	return !t.expired(s) && (t.ring.uses == 0 || s.left.Add(-1) >= 0)
}

// expired reports whether the time of keys is over. The monotonic clock stands still while a machine is suspended, and
// the other one can be set back, so the one that has come further counts.
func (t *Tenant) expired(s *unlocked) bool {
	now := time.Now()
	return !t.pinned() && max(now.Sub(s.since), now.Round(0).Sub(s.since.Round(0))) >= t.ring.ttl
}

// lock drops the keys from memory.
func (t *Tenant) lock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// drop is lock with t.mu held.
func (t *Tenant) drop() {
	t.state.Store(nil)
	t.roots = nil
	t.ring.dropped(t)
	t.drops.call()
}

// expire drops the keys of a state whose time is over.
func (t *Tenant) expire(s *unlocked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Load() == s {
		t.drop()
	}
}

// pinned reports whether the keys stay in memory until the keyring is closed: those of the system document.
func (t *Tenant) pinned() bool { return t.id == "" }

// adopt reads the document as it is now and makes its keys the current ones, under roots that were opened at
// a time. The caller holds t.mu. It returns errRoots where there are keys under others.
func (t *Tenant) adopt(ctx context.Context, opened roots, since time.Time) (*unlocked, error) {
	d, content, err := t.ring.read(ctx, t.id)
	if err != nil {
		return nil, err
	}
	if d == nil {
		if d, content, err = t.writeBack(ctx); err != nil {
			return nil, err
		}
	}
	if seen := t.lastSeen(); seen != nil && !bytes.Equal(seen, content) {
		if d, content, err = t.bringBack(ctx, seen, d, content, opened); err != nil {
			return nil, err
		}
	}
	if !covers(d, opened) {
		return nil, errRoots
	}
	v, err := unlockVault(d, opened.keys())
	if err != nil {
		return nil, t.ring.damaged(t.id, err)
	}
	s := &unlocked{Vault: v, content: content, since: since}
	s.left.Store(t.ring.uses)
	for i := range d.Keysets {
		set := &d.Keysets[i]
		if set.Class.Valid() {
			s.counters[set.Use][set.Class] = t.counter(set.Primary())
		}
	}
	s.renewal = t.ring.renewalOf(since)
	former := t.state.Load()
	if former != nil && former.since.Equal(since) {
		s.renewal = former.renewal
		s.used.Store(former.used.Load())
	}
	if t.kept = nil; d.Shredded() {
		t.kept = content
	}
	t.roots = opened
	t.seen.Store(true)
	t.state.Store(s)
	t.ring.schedule(t, s, time.Now().Add(rereadInterval*4/5+rand.N(rereadInterval/5)))
	t.ring.waiting.remove(t)
	if former != nil && !v.holdsAll(former.Vault) {
		t.drops.call()
	}
	return s, nil
}

// errRoots says that keys are under roots that are not in memory: the KEKs have to be asked.
var errRoots = errors.New("keyring: keys under other roots")

// add makes those keys of the uses and classes that the document, as it is now, has no keyset for.
func (t *Tenant) add(ctx context.Context, uses []format.Use, classes []classify.Class) error {
	return t.ring.Edit(ctx, t.id, func(e *Edit) error {
		for _, use := range uses {
			for _, class := range classes {
				if e.Keyset(use, class) != nil {
					continue
				}
				if _, err := e.newKey(ctx, use, class); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
