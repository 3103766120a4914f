package keyring

import (
	"context"
	"crypto/cipher"
	"runtime"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Vault has the unlocked keys of one keyset document. It implements seal.Keys. Its keys never change, and stay in
// memory as long as the Vault is reachable, so its methods do not observe their context. It is safe for concurrent use.
type Vault struct {
	document *envelope.Document
	index    *envelope.Index
	keys     map[format.KeyID]*secret.Key
}

// OpenVault unlocks a vault document, such as a browser's, with one of its secrets. It returns
// envelope.ErrWrongSecret if the secret opens no slot, and envelope.ErrAuthentication if the document was altered.
// For a malformed document it returns envelope.ErrMalformed, ErrUnsupportedVersion or ErrTooLarge, and
// classify.ErrIterations for a number of PBKDF2 iterations outside the permitted range.
func OpenVault(document []byte, secret Secret) (*Vault, error) {
	d, err := envelope.ParseDocument(document)
	if err != nil {
		return nil, err
	}
	if secret.err != nil {
		return nil, secret.err
	}
	if err := d.CheckDerivations(); err != nil {
		return nil, err
	}
	opened, failed := roots{}, error(envelope.ErrWrongSecret)
	for i := range d.Slots {
		s := &d.Slots[i]
		if err := s.CheckIterations(); err != nil {
			failed = err
			continue
		}
		key, err := secret.slotKey(s)
		if err != nil {
			return nil, err
		}
		if key == nil || key.ID() != s.KeyID {
			continue
		}
		root, err := key.Unwrap(s.Wrapped, d.RootBinding(s.Root))
		if err != nil {
			return nil, err
		}
		opened[s.Root] = openRoot{key: root}
	}
	if len(opened) == 0 {
		return nil, failed
	}
	return newVault(d, opened)
}

// newVault verifies the records of a document under the opened roots, and unwraps the keys. It returns
// envelope.ErrAuthentication if a MAC is wrong, or a key does not unwrap in its place.
func newVault(d *envelope.Document, opened roots) (*Vault, error) {
	if err := d.Verify(authenticator(opened, nil)); err != nil {
		return nil, err
	}
	d = d.OnlyUnder(func(root envelope.Root) bool { return opened[root].key != nil })
	v := &Vault{document: d, index: envelope.NewIndex(d), keys: map[format.KeyID]*secret.Key{}}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			if k.State == envelope.Destroyed {
				continue
			}
			key, err := opened[k.Root].key.Unwrap(k.Wrapped, d.KeyBinding(s.Use, uint8(s.Class), k.ID))
			if err != nil {
				return nil, err
			}
			runtime.SetFinalizer(key, (*secret.Key).Clear) // not when the keys are dropped, because an operation may still use them
			v.keys[k.ID] = key
		}
	}
	return v, nil
}

// Owner returns the id of the tenant or vault.
func (v *Vault) Owner() string { return v.document.Owner }

// Environment returns the label that the keys are bound to.
func (v *Vault) Environment() string { return v.document.Environment }

// Primary returns the id of the key that seals for a use and class. It returns envelope.ErrKeyUnusable if there is
// none.
func (v *Vault) Primary(_ context.Context, use format.Use, class classify.Class) (format.KeyID, error) {
	return v.index.Primary(use, class)
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen.
func (v *Vault) CheckOpen(_ context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	return v.index.CheckOpen(h, policy)
}

// MessageCipher returns the cipher for the packages of a key and salt. It returns envelope.ErrUnknownKey if there is
// no such key.
func (v *Vault) MessageCipher(_ context.Context, id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	key, ok := v.keys[id]
	if !ok {
		return nil, envelope.ErrUnknownKey
	}
	return key.MessageCipher(salt)
}

// hasKeysOf reports whether the vault has all keys of another one.
func (v *Vault) hasKeysOf(other *Vault) bool {
	for id := range other.keys {
		if v.keys[id] == nil {
			return false
		}
	}
	return true
}

// lacksKeyset reports whether a use and class are valid and have no keyset, so that one may be added.
func (v *Vault) lacksKeyset(use format.Use, class classify.Class) bool {
	return use >= format.UseStorage && use <= format.UseFile && class.Valid() && v.document.Keyset(use, class) == nil
}
