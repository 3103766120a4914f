package keyring

import (
	"context"
	"crypto/hmac"
	"errors"
	"hash"
	"sync"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/seal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// systemID is the owner of the system document, and its name in the store. No tenant has the empty id.
const systemID = ""

// System is the keys of the environment itself, from its system document: those that authenticate tokens, shred records
// and audit chains. It is safe for concurrent use.
type System struct {
	tenant *Tenant

	mu    sync.Mutex
	state *unlocked                    // that the keys are of
	keys  map[format.Use][]*secret.Key // the primary first
}

// System returns the environment's own keys, unlocked. Its document is made if there is none. A server calls it as it
// starts: the keys stay in memory until the keyring is closed, whatever the TTL is. It returns the errors of Tenant.
func (r *Keyring) System(ctx context.Context) (*System, error) {
	t := r.tenant(systemID)
	if t.state.Load() == nil {
		if _, err := t.unlock(ctx); err != nil {
			return nil, err
		}
	}
	return &r.system, nil
}

// FindSystem is System, but returns nil if there is no system document, instead of making one.
func (r *Keyring) FindSystem(ctx context.Context) (*System, error) {
	if r.system.tenant.state.Load() == nil {
		if content, err := r.store.Get(ctx, keystore.Keysets, systemID); err != nil || content == nil {
			return nil, err
		}
	}
	return r.System(ctx)
}

// Find returns the key of a use with an id, be it the primary or a former one. It returns envelope.ErrUnknownKey if there is none.
// The key stays the keyring's: it must not be cleared.
func (s *System) Find(use format.Use, id format.KeyID) (*secret.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.load(use)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.ID() == id {
			return key, nil
		}
	}
	return nil, envelope.ErrUnknownKey
}

// Key returns the key of a use: envelope.UseTokens, UseShreds or UseAudit. It is made at first use, and is durable before
// this returns. The key stays the keyring's: it must not be cleared.
func (s *System) Key(ctx context.Context, use format.Use) (*secret.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.load(use)
	if err == nil && len(keys) == 0 {
		err = s.tenant.ring.Edit(ctx, systemID, func(e *Edit) error {
			if e.Keyset(use, 0) != nil { // another process made it
				return nil
			}
			_, err := e.newKey(ctx, use, 0)
			return err
		})
		if loaded, e := s.load(use); len(loaded) > 0 || err == nil { // it may be there, though the reply was lost
			keys, err = loaded, e
		}
	}
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// load returns the keys of a use that the document has, the primary first. s.mu must be held.
func (s *System) load(use format.Use) ([]*secret.Key, error) {
	if v := s.tenant.state.Load(); v != nil && v == s.state && len(s.keys[use]) > 0 {
		return s.keys[use], nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.tenant.ring.patience)
	defer cancel()
	if err := s.tenant.reload(ctx, nil); err != nil { // another process may have made the key
		return nil, err
	}
	v, err := s.tenant.ready()
	if err != nil {
		return nil, err
	}
	if v != s.state {
		s.state, s.keys = v, map[format.Use][]*secret.Key{}
	}
	set := v.document.Keyset(use, 0)
	if set == nil {
		return nil, nil
	}
	primary := set.Primary()
	keys := []*secret.Key{}
	if k := v.keys[primary]; k != nil {
		keys = append(keys, k)
	}
	for _, k := range set.Keys {
		if key := v.keys[k.ID]; key != nil && k.ID != primary {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, envelope.ErrKeyUnusable
	}
	s.keys[use] = keys
	return keys, nil
}

// shredKey returns the key that authenticates new shred records.
func (r *Keyring) shredKey(ctx context.Context) (*secret.Key, error) {
	s, err := r.System(ctx)
	if err != nil {
		return nil, err
	}
	return s.Key(ctx, envelope.UseShreds)
}

// shredKeys returns the keys by which shred records are verified. It makes no system document: there are no keys without one.
func (r *Keyring) shredKeys(ctx context.Context) ([]*secret.Key, error) {
	s, err := r.FindSystem(ctx)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return []*secret.Key{}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.load(envelope.UseShreds)
	if keys == nil {
		keys = []*secret.Key{}
	}
	return keys, err
}

// errUnopened reports a root that the document names and no configured KEK opens.
var errUnopened = errors.New("its keys are under a KEK that is not configured: set that one as well, or restore the keyset from a backup")

// verify checks every record of a document, under roots that are open. It returns ErrUnreadable if a record was altered, or is
// under a root that nothing opens.
func (r *Keyring) verify(ctx context.Context, d *envelope.Document, opened roots) error {
	if !covers(d, opened) {
		return r.unreadable(d.Owner, errUnopened)
	}
	if err := r.verifyShreds(ctx, d); err != nil {
		return err
	}
	if err := d.Verify(authenticator(opened, nil)); err != nil {
		return r.damaged(d.Owner, err)
	}
	return nil
}

// verifyShreds checks the shred records of a document. It needs no root of the document.
func (r *Keyring) verifyShreds(ctx context.Context, d *envelope.Document) error {
	if len(d.Shreds) == 0 {
		return nil
	}
	shreds, err := r.shredKeys(ctx)
	if err != nil {
		return err
	}
	if err := d.Verify(authenticatorOf(nil, shreds)); err != nil {
		return r.damaged(d.Owner, err)
	}
	return nil
}

func authenticator(opened roots, shreds []*secret.Key) envelope.Authenticator {
	return authenticatorOf(opened.keys(), shreds)
}

// authenticatorOf makes MACs under roots, and of shred records under the first of the keys of shreds. An existing MAC of a
// shred record may be under any of them. With nil it leaves shred records out: their key is not known to those who have only the
// secret of a slot. It is not safe for concurrent use.
func authenticatorOf(roots map[envelope.Root]*secret.Key, shreds []*secret.Key) envelope.Authenticator {
	made := map[*secret.Key]hash.Hash{}
	sum := func(key *secret.Key, message []byte) (mac [envelope.MACSize]byte) {
		h, ok := made[key]
		if !ok {
			h = key.MAC(envelope.LabelRecordMAC)
			made[key] = h
		}
		h.Reset()
		h.Write(message)
		h.Sum(mac[:0])
		return mac
	}
	return func(r *envelope.Record) (mac [envelope.MACSize]byte, ok bool) {
		if !r.Shred {
			key, ok := roots[r.Root]
			if !ok {
				return mac, false
			}
			return sum(key, r.Message), true
		}
		if shreds == nil {
			return mac, false
		}
		for i := len(shreds) - 1; i >= 0; i-- {
			if mac = sum(shreds[i], r.Message); hmac.Equal(mac[:], r.MAC) {
				break
			}
		}
		return mac, true // without a key no shred record is right
	}
}
