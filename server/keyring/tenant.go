package keyring

import (
	"context"
	"crypto/cipher"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Tenant is one tenant's keys. It is a seal.Keys that makes the key of a use and class when it is first asked for, and
// is safe for concurrent use. Its methods unlock it again if its keys were dropped, and wait for the KEK then.
type Tenant struct {
	ring  *Keyring
	id    string
	state atomic.Pointer[unlocked] // nil: locked
	drops sync.Map                 // functions to call when keys are dropped

	reloading atomic.Bool // by reloadSoon

	mu      sync.Mutex // held while the document is read into state, so that a later state is never an earlier document's
	roots   roots      // in memory with the keys, to wrap new ones
	seen    bool       // it had a document once
	content []byte     // the document that this process saw last; nil if that is not in memory
	keep    bool       // content outlasts the keys: it is shredded, missing or under other roots, or this process may have to write it again
	timer   *time.Timer
}

// Owner is the tenant's id.
func (t *Tenant) Owner() string { return t.id }

// Primary returns the id of the key that seals for a use and class. If there is none yet, one is made and is durable before this
// returns. It returns envelope.ErrKeyUnusable if the primary may not seal, envelope.ErrKeyDestroyed for a tenant that was shredded,
// ErrUnreadable, and the errors of the KEK.
func (t *Tenant) Primary(use format.Use, class classify.Class) (format.KeyID, error) {
	s, err := t.ready()
	if err == nil && s.counter(use, class) == nil && s.lacksKeyset(use, class) {
		ctx, cancel := context.WithTimeout(context.Background(), t.ring.unlockTimeout)
		defer cancel()
		if err = t.add(ctx, []format.Use{use}, []classify.Class{class}); err == nil {
			s, err = t.ready()
		}
	}
	if err != nil {
		return format.KeyID{}, err
	}
	c := s.counter(use, class)
	if c == nil {
		return s.Primary(use, class)
	}
	c.count()
	return c.key, nil
}

// counter returns the counter of the key that seals, or nil.
func (s *unlocked) counter(use format.Use, class classify.Class) *counter {
	if int(use) < len(s.counters) && int(class) < len(s.counters[use]) {
		return s.counters[use][class]
	}
	return nil
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen. An unknown key may be
// another process's, so the document is looked at again.
func (t *Tenant) CheckOpen(h *format.Header, policy envelope.OpenPolicy) error {
	s, err := t.ready()
	if err != nil {
		return err
	}
	if err = s.CheckOpen(h, policy); err != envelope.ErrUnknownKey || h.Source != format.FromKeyset {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.unlockTimeout)
	defer cancel()
	if err := t.reload(ctx, nil); err != nil {
		return err
	}
	if s, err = t.ready(); err != nil {
		return err
	}
	return s.CheckOpen(h, policy)
}

// MessageCipher returns the cipher of a key's packages under one salt, and envelope.ErrUnknownKey if there is no such key.
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

// ready returns the keys, for one use.
func (t *Tenant) ready() (*unlocked, error) {
	s := t.state.Load()
	if s != nil && t.spend(s) {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ring.unlockTimeout)
	defer cancel()
	return t.unlock(ctx)
}

// spend counts a use of keys, and reports whether they may be used.
func (t *Tenant) spend(s *unlocked) bool {
	if !s.used.Load() {
		s.used.Store(true)
	}
	return !t.expired(s, t.ring.lately()) && (t.ring.uses == 0 || t.pinned() || s.left.Add(-1) >= 0)
}

// expired reports whether the time of keys is over at a moment.
func (t *Tenant) expired(s *unlocked, at moment) bool {
	return !t.pinned() && at.since(s.since) >= t.ring.ttl
}

// pinned reports whether the keys stay in memory until the keyring is closed: those of the system document.
func (t *Tenant) pinned() bool { return t.id == systemID }

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

// OnDrop has f called whenever keys of the tenant are dropped from memory, because their time is over, or they
// were destroyed or shredded. So whatever was derived from them can be dropped as well. f must not use the
// tenant. The returned function ends that.
func (t *Tenant) OnDrop(f func()) (stop func()) {
	hook := &f
	t.drops.Store(hook, f)
	return func() { t.drops.Delete(hook) }
}

func (t *Tenant) dropped() {
	t.drops.Range(func(_, f any) bool {
		f.(func())()
		return true
	})
}
