package keyring

import (
	"crypto/cipher"
	"runtime"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Vault is the unlocked keys of a keyset document, as it is: it never gains a key. It is a seal.Keys, and
// safe for concurrent use.
type Vault struct {
	document *envelope.Document
	index    *envelope.Index
	keys     map[format.KeyID]*secret.Key
}

// unlockVault verifies the records of a document that are under these roots, and unwraps the keys. It returns
// envelope.ErrAuthentication if a MAC is wrong or a key does not unwrap in its place.
func unlockVault(d *envelope.Document, opened roots) (*Vault, error) {
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
			runtime.SetFinalizer(key, (*secret.Key).Clear) // not before: an operation may still use what was dropped
			v.keys[k.ID] = key
		}
	}
	return v, nil
}

// Owner is the id of the tenant or vault.
func (v *Vault) Owner() string { return v.document.Owner }

// Environment is the label that the keys are bound to.
func (v *Vault) Environment() string { return v.document.Environment }

// Primary names the key that seals for a use and class; envelope.ErrKeyUnusable where there is none.
func (v *Vault) Primary(use format.Use, class classify.Class) (format.KeyID, error) {
	return v.index.Primary(use, class)
}

// CheckOpen decides whether a package may be opened; see envelope.Index.CheckOpen.
func (v *Vault) CheckOpen(h *format.Header, policy envelope.OpenPolicy) error {
	return v.index.CheckOpen(h, policy)
}

// MessageCipher is the cipher of a key's packages under one salt; envelope.ErrUnknownKey where there is no such key.
func (v *Vault) MessageCipher(id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	key, ok := v.keys[id]
	if !ok {
		return nil, envelope.ErrUnknownKey
	}
	return key.MessageCipher(salt)
}

// holdsAll reports whether the vault has all keys of a former one.
func (v *Vault) holdsAll(former *Vault) bool {
	for id := range former.keys {
		if v.keys[id] == nil {
			return false
		}
	}
	return true
}

// lacks reports whether there is no keyset of a use and class at all, so that one may be begun.
func (v *Vault) lacks(use format.Use, class classify.Class) bool {
	return use >= format.UseStorage && use <= format.UseFile && class.Valid() && v.document.Keyset(use, class) == nil
}
