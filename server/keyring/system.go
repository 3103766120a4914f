package keyring

import (
	"context"
	"crypto/hmac"
	"errors"
	"hash"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// systemID is the owner of the system document, and its name in the store. No tenant has the empty id.
const systemID = ""

// System is the keys of the environment itself, from its system document: those that authenticate tokens, shred records
// and audit chains. It is safe for concurrent use.
type System struct{ tenant *Tenant }

// System returns the environment's own keys, unlocked. Its document is made if there is none. A server calls it as it
// starts: the keys stay in memory until the keyring is closed, whatever the TTL is. It returns the errors of Tenant.
func (r *Keyring) System(ctx context.Context) (*System, error) {
	t, err := r.unlock(ctx, r.system)
	return &System{t}, err
}

// FindSystem is System, but returns nil if there is no system document, instead of making one.
func (r *Keyring) FindSystem(ctx context.Context) (*System, error) {
	if r.system.state.Load() == nil {
		if content, err := r.store.Get(ctx, keystore.Keysets, systemID); err != nil || content == nil {
			return nil, err
		}
	}
	return r.System(ctx)
}

// Find returns the key of a use with an id, be it the primary or a former one. It returns envelope.ErrUnknownKey if there is none.
// The key stays the keyring's: it must not be cleared.
func (s *System) KeyByID(ctx context.Context, use format.Use, id format.KeyID) (*secret.Key, error) {
	keys, err := s.keys(ctx, use)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(keys, func(key *secret.Key) bool { return key.ID() == id }); i >= 0 {
		return keys[i], nil
	}
	return nil, envelope.ErrUnknownKey
}

// Key returns the key of a use: envelope.UseTokens, UseShreds or UseAudit. It is made at first use, and is durable before
// this returns. The key stays the keyring's: it must not be cleared.
func (s *System) Key(ctx context.Context, use format.Use) (*secret.Key, error) {
	keys, err := s.keys(ctx, use)
	if err == nil && len(keys) == 0 {
		err = s.tenant.add(ctx, []format.Use{use}, []classify.Class{0})
		if made, e := s.keys(ctx, use); len(made) > 0 || err == nil { // it may be there, though the reply was lost
			keys, err = made, e
		}
	}
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// Make makes the key of a use if there is none, and reports whether this call made it. Of several processes that call it at once, one
// gets true. After an error the key may exist.
func (s *System) CreateKey(ctx context.Context, use format.Use) (made bool, err error) {
	key := secret.New()
	defer key.Clear()
	err = s.tenant.ring.Edit(ctx, systemID, func(e *Edit) error {
		if e.Keyset(use, 0) != nil {
			return nil
		}
		return e.AddKey(ctx, use, 0, key)
	})
	if err != nil {
		return false, err
	}
	primary, err := s.Key(ctx, use)
	return err == nil && primary.ID() == key.ID(), err
}

// keys returns the keys of a use, the primary first, and no key if the document has no keyset of the use.
func (s *System) keys(ctx context.Context, use format.Use) ([]*secret.Key, error) {
	v, err := s.tenant.ready()
	if err == nil && v.document.Keyset(use, 0) == nil { // another process may have made it
		if err = s.tenant.reload(ctx, nil); err == nil {
			v, err = s.tenant.ready()
		}
	}
	if err != nil {
		return nil, err
	}
	set := v.document.Keyset(use, 0)
	if set == nil {
		return []*secret.Key{}, nil
	}
	keys := make([]*secret.Key, 0, len(set.Keys))
	for _, k := range set.Keys {
		if key := v.keys[k.ID]; key != nil {
			keys = append(keys, key)
		}
	}
	if first := slices.Index(keys, v.keys[set.Primary()]); first > 0 {
		keys[0], keys[first] = keys[first], keys[0]
	}
	if len(keys) == 0 {
		return nil, envelope.ErrKeyUnusable
	}
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
	if err != nil || s == nil {
		return []*secret.Key{}, err
	}
	return s.keys(ctx, envelope.UseShreds)
}

// labelState is the info of the key that authenticates other documents than keysets, derived from the key of shred records. No
// other implementation reads those documents.
const labelState = "coffer/v1 state mac"

// SignState returns the MAC of a document that is not a keyset, under a key of the system document. It makes the key if it is missing.
func (r *Keyring) SignState(ctx context.Context, document []byte) ([]byte, error) {
	key, err := r.shredKey(ctx)
	if err != nil {
		return nil, err
	}
	h := key.MAC(labelState)
	h.Write(document)
	return h.Sum(nil), nil
}

// VerifyState reports whether SignState returned the MAC for the document.
func (r *Keyring) VerifyState(ctx context.Context, document, mac []byte) (bool, error) {
	keys, err := r.shredKeys(ctx)
	for _, key := range keys {
		h := key.MAC(labelState)
		h.Write(document)
		if hmac.Equal(h.Sum(nil), mac) {
			return true, nil
		}
	}
	return false, err
}

// errUnopened reports a root that the document names and no configured KEK opens.
var errUnopened = errors.New("its keys are under a KEK that is not configured: set that one as well, or restore the keyset from a backup")

// verify checks every record of a document, under roots that are open; only the shred records if opened is nil. It returns
// ErrUnreadable if a record was altered, or is under a root that nothing opens.
func (r *Keyring) verify(ctx context.Context, d *envelope.Document, opened roots) error {
	if opened != nil && !covers(d, opened) {
		return r.reject(d.Owner, encoded(d), r.unreadable(d.Owner, errUnopened))
	}
	var shreds []*secret.Key
	if len(d.Shreds) > 0 {
		var err error
		if shreds, err = r.shredKeys(ctx); err != nil {
			return err
		}
	}
	if err := d.Verify(authenticator(opened, shreds)); err != nil {
		return r.rejectDamaged(d.Owner, encoded(d), err)
	}
	return nil
}

// authenticator makes MACs under roots, and of shred records under the first of the keys of shreds. An existing MAC of a
// shred record may be under any of them. With nil it leaves shred records out: their key is not known to those who have only the
// secret of a slot. It is not safe for concurrent use.
func authenticator(opened roots, shreds []*secret.Key) envelope.Authenticator {
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
			key := opened[r.Root].key
			if key == nil {
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
