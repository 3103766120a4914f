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

// Tenant has the keys of one tenant. It implements seal.Keys. A Tenant needs no closing, and is safe for concurrent
// use.
//
// If its keys were dropped from memory, its methods unlock it again, and wait for the KEK until ctx ends, but at most
// for the unlock timeout of the keyring. A method that stops waiting returns the error of ctx. The unlock then
// continues, for the other callers that wait for it and for the next call. While the keys are in memory, the methods
// do not observe ctx.
type Tenant struct {
	ring      *Keyring
	id        string
	state     atomic.Pointer[unlocked] // nil if locked
	dropHooks sync.Map                 // functions of OnDrop

	reloading atomic.Bool // by reloadWithTimeout

	mu          mutex  // held while a document is read into state, so that state never goes back to an earlier document
	roots       roots  // as long as the keys are in memory, to wrap new keys
	existed     bool   // this process read or wrote its document before
	lastContent []byte // the document that this process read or wrote last; nil if it is not in memory
	keepContent bool   // keep lastContent when the keys are dropped: the document is shredded, missing or under other roots, or may have to be written again
	timer       *time.Timer
}

// Owner returns the tenant's id.
func (t *Tenant) Owner() string { return t.id }

// Primary returns the id of the key that seals for a use and class. If the keyset does not exist yet, Primary makes
// it, durable before Primary returns. It returns envelope.ErrKeyUnusable if the primary may not seal,
// envelope.ErrKeyDestroyed for a shredded tenant, ErrUnreadable, an error of a KEK, or the error of ctx.
func (t *Tenant) Primary(ctx context.Context, use format.Use, class classify.Class) (format.KeyID, error) {
	s, err := t.usableKeys(ctx)
	if err == nil && s.counter(use, class) == nil && s.lacksKeyset(use, class) {
		if err = t.createKeyset(ctx, use, class); err == nil {
			s, err = t.usableKeys(ctx)
		}
	}
	if err != nil {
		return format.KeyID{}, err
	}
	c := s.counter(use, class)
	if c == nil {
		return s.Primary(ctx, use, class)
	}
	c.count()
	return c.key, nil
}

// counter returns the counter of the primary of a use and class, or nil if no key may seal.
func (s *unlocked) counter(use format.Use, class classify.Class) *counter {
	if int(use) < len(s.counters) && int(class) < len(s.counters[use]) {
		return s.counters[use][class]
	}
	return nil
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen. For an unknown key it rereads the
// document first, because another process may have made the key.
func (t *Tenant) CheckOpen(ctx context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	s, err := t.usableKeys(ctx)
	if err != nil {
		return err
	}
	if err = s.CheckOpen(ctx, h, policy); err != envelope.ErrUnknownKey || h.Source != format.FromKeyset {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.ring.unlockTimeout)
	defer cancel()
	if err := t.reload(ctx, nil); err != nil {
		return err
	}
	if s, err = t.usableKeys(ctx); err != nil {
		return err
	}
	return s.CheckOpen(ctx, h, policy)
}

// MessageCipher returns the cipher for the packages of a key and salt. It returns envelope.ErrUnknownKey if there is
// no such key.
func (t *Tenant) MessageCipher(ctx context.Context, id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	s := t.state.Load()
	if s == nil {
		var err error
		if s, err = t.usableKeys(ctx); err != nil {
			return nil, err
		}
	}
	return s.MessageCipher(ctx, id, salt)
}

// usableKeys returns the keys and counts a use of them. It unlocks the tenant if necessary.
func (t *Tenant) usableKeys(ctx context.Context) (*unlocked, error) {
	s := t.state.Load()
	if s != nil && t.countUse(s) {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.ring.unlockTimeout)
	defer cancel()
	return t.unlock(ctx)
}

// countUse counts a use of keys, and reports whether they may still be used.
func (t *Tenant) countUse(s *unlocked) bool {
	if !s.used.Load() {
		s.used.Store(true)
	}
	return !t.expired(s, t.ring.recentTime()) && (t.ring.maxUses == 0 || t.pinned() || s.usesLeft.Add(-1) >= 0)
}

// expired reports whether the TTL of keys is over at a moment.
func (t *Tenant) expired(s *unlocked, at moment) bool {
	return !t.pinned() && at.since(s.since) >= t.ring.ttl
}

// pinned reports whether the keys stay in memory until Close. This is true for the system document only.
func (t *Tenant) pinned() bool { return t.id == systemID }

// createKeyset makes the first key of a use and class. Concurrent callers share one change of the document, which
// continues if their contexts end.
func (t *Tenant) createKeyset(ctx context.Context, use format.Use, class classify.Class) error {
	ctx, cancel := context.WithTimeout(ctx, t.ring.unlockTimeout)
	defer cancel()
	created := t.ring.creating.DoChan(string([]byte{byte(use), byte(class)})+t.id, func() (any, error) {
		ctx, done := t.ring.startWork()
		defer done()
		return nil, t.addMissingKeys(ctx, []format.Use{use}, []classify.Class{class})
	})
	_, err := waitFor(ctx, created)
	return err
}

// addMissingKeys makes a key for each of the uses and classes that have no keyset in the stored document.
func (t *Tenant) addMissingKeys(ctx context.Context, uses []format.Use, classes []classify.Class) error {
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

// OnDrop registers a function that is called whenever keys of the tenant are dropped from memory: their TTL ended, or
// they were destroyed or shredded. A caller can then drop data that it derived from the keys. f must not use the
// tenant. The returned function removes f.
func (t *Tenant) OnDrop(f func()) (stop func()) {
	hook := &f
	t.dropHooks.Store(hook, f)
	return func() { t.dropHooks.Delete(hook) }
}

func (t *Tenant) runDropHooks() {
	t.dropHooks.Range(func(_, f any) bool {
		f.(func())()
		return true
	})
}

// IsForeignKey reports whether a key belongs to another tenant whose keys are in memory. It implements seal.ForeignKeyChecker.
// It visits all unlocked tenants, so call it only for a key that the tenant itself does not have. Keys of locked
// tenants are not found: a header names no owner.
func (t *Tenant) IsForeignKey(id format.KeyID) bool {
	for _, other := range t.ring.tenantsInUse() {
		if u := other.state.Load(); other != t && u != nil && u.keys[id] != nil {
			return true
		}
	}
	return false
}
