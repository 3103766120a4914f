package keyring

import (
	"context"
	"crypto/hmac"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// systemID is the owner of the system document and its name in the store. No tenant has an empty id.
const systemID = ""

// System has the environment's own keys, from the system document. They authenticate tokens, shred records and audit
// logs. It is safe for concurrent use. Only Coffer's own service needs it.
type System struct{ tenant *Tenant }

// System returns the environment's own keys, unlocked, and creates the system document if it does not exist. These keys
// stay in memory until Close, so that a server that calls System at its start has them during an outage of the KMS.
// System returns the errors of [Keyring.Tenant].
func (r *Keyring) System(ctx context.Context) (*System, error) {
	t, err := r.unlock(ctx, r.system)
	return &System{t}, err
}

// FindSystem is like [Keyring.System], but returns nil if the system document does not exist.
func (r *Keyring) FindSystem(ctx context.Context) (*System, error) {
	if r.system.state.Load() == nil {
		if content, err := r.store.Get(ctx, keystore.Keysets, systemID); err != nil || content == nil {
			return nil, err
		}
	}
	return r.System(ctx)
}

// KeyByID returns the key of a use with an id, whether it is the primary or a former one. It returns
// envelope.ErrUnknownKey for an unknown id. The key belongs to the keyring: do not clear it.
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

// Key returns the primary of a use: envelope.UseTokens, UseShreds or UseAudit. It makes the key at first use; the key
// is durable before Key returns. The key belongs to the keyring: do not clear it.
func (s *System) Key(ctx context.Context, use format.Use) (*secret.Key, error) {
	keys, err := s.keys(ctx, use)
	if err == nil && len(keys) == 0 {
		err = s.tenant.addMissingKeys(ctx, []format.Use{use}, []classify.Class{0})
		if made, e := s.keys(ctx, use); len(made) > 0 || err == nil { // the key may exist although the reply was lost
			keys, err = made, e
		}
	}
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// CreateKey makes the key of a use if it does not exist, and reports whether this call made it. If several processes call
// it concurrently, one of them gets true. After an error the key may exist.
func (s *System) CreateKey(ctx context.Context, use format.Use) (created bool, err error) {
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

// keys returns the keys of a use, the primary first. It returns no keys if the document has no keyset of the use.
func (s *System) keys(ctx context.Context, use format.Use) ([]*secret.Key, error) {
	v, err := s.tenant.usableKeys(ctx)
	if err == nil && v.document.Keyset(use, 0) == nil { // another process may have added it
		if err = s.tenant.reload(ctx, nil); err == nil {
			v, err = s.tenant.usableKeys(ctx)
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

// shredKeys returns the keys that verify shred records. It returns no keys if the system document does not exist, and
// does not create it.
func (r *Keyring) shredKeys(ctx context.Context) ([]*secret.Key, error) {
	s, err := r.FindSystem(ctx)
	if err != nil || s == nil {
		return []*secret.Key{}, err
	}
	return s.keys(ctx, envelope.UseShreds)
}

// labelState is HKDF's info input for the key that authenticates documents other than keysets. The key is derived
// from the key of shred records. No other implementation reads those documents.
const labelState = "coffer/v1 state mac"

// SignState returns the MAC of a document that is not a keyset, under a key of the system document. It makes that key
// if it is missing. Only Coffer's own service needs it.
func (r *Keyring) SignState(ctx context.Context, document []byte) ([]byte, error) {
	key, err := r.shredKey(ctx)
	if err != nil {
		return nil, err
	}
	h := key.MAC(labelState)
	h.Write(document)
	return h.Sum(nil), nil
}

// VerifyState reports whether mac is what SignState returned for the document.
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
