package keyring

import (
	"context"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Secret opens a vault document: a password or a master key. Make one with [Password] or [MasterKey]; the zero Secret
// opens nothing. A Secret is safe for concurrent use.
type Secret struct {
	password   *secret.Password
	masterKey  *secret.Key
	iterations uint32 // of PBKDF2, in a new document
	err        error  // why it is not usable
}

// Password returns a secret that is stretched by PBKDF2-HMAC-SHA256, with classify.MinWriteIterations in a new
// document. The text is any UTF-8 without U+0000, in any Unicode normalisation form; otherwise the functions that
// take the Secret return an error with the code "invalid_argument".
func Password(text string) Secret {
	password, err := secret.NewPassword(text)
	return Secret{password: password, iterations: classify.MinWriteIterations, err: err}
}

// WithIterations returns a copy of a password with another number of iterations for new documents. A lower number than
// classify.MinWriteIterations is raised to it, with a warning in the log; a higher one than classify.MaxIterations is
// classify.ErrIterations when the Secret is used.
func (s Secret) WithIterations(n uint32) Secret {
	s.iterations = n
	return s
}

// MasterKey returns a secret of 32 random bytes, which it copies. It needs no stretching. With any other length, the
// functions that take the Secret return an error with the code "invalid_argument".
func MasterKey(key []byte) Secret {
	k, err := secret.FromMasterKey(key)
	return Secret{masterKey: k, err: err}
}

// slotKey derives the key that opens a slot. It returns nil if the slot takes another kind of secret.
func (s Secret) slotKey(slot *envelope.Slot) (*secret.Key, error) {
	switch {
	case s.masterKey != nil && slot.Kind == envelope.SlotMasterKey:
		return s.masterKey, nil
	case s.password != nil && slot.Kind == envelope.SlotPassword:
		return s.password.Key(slot.Salt, slot.Iterations)
	}
	return nil, nil
}

// browserUses are the uses of the keys in a browser.
var browserUses = []format.Use{format.UseStorage, format.UseService}

// ExportKeyset returns a vault document with the tenant's keys of some uses and all classes, for a browser or another
// program. Without uses, these are storage and service, the uses of a browser. Missing keys are made first. The keys
// are under a new root that only the secret opens, and the document gives access to no other keys of the tenant. An
// export cannot be revoked: rotate the keys instead.
func (t *Tenant) ExportKeyset(ctx context.Context, secret Secret, uses ...format.Use) ([]byte, error) {
	if len(uses) == 0 {
		uses = browserUses
	}
	ctx, cancel := context.WithTimeout(ctx, t.ring.unlockTimeout)
	defer cancel()
	if err := t.addMissingKeys(ctx, uses, classify.All[:]); err != nil {
		return nil, err
	}
	u, err := t.usableKeys(ctx)
	if err != nil {
		return nil, err
	}
	d, root, rootKey := newVaultDocument(u.Environment(), t.id)
	defer rootKey.Clear()
	for _, s := range u.document.Keysets {
		if !slices.Contains(uses, s.Use) {
			continue
		}
		s.Primaries = []envelope.Primary{{Root: root, Epoch: s.Epoch(), KeyID: s.Primary()}}
		s.Keys = slices.Clone(s.Keys)
		for i := range s.Keys {
			k := &s.Keys[i]
			if k.Root, k.MAC = root, [envelope.MACSize]byte{}; k.State == envelope.Destroyed {
				continue
			}
			if k.Wrapped, err = rootKey.Wrap(u.keys[k.ID], d.KeyBinding(s.Use, uint8(s.Class), k.ID)); err != nil {
				return nil, err
			}
		}
		d.Keysets = append(d.Keysets, s)
	}
	return encodeVault(d, root, rootKey, secret)
}

// NewVaultDocument returns a new vault document with a key of each class for some uses, as a browser makes its own.
// Without uses, these are storage and service. The environment is a label that the keys are bound to, the owner the
// name of the vault. It returns envelope.ErrInvalid for an empty owner or an unknown use.
func NewVaultDocument(environment, owner string, secret Secret, uses ...format.Use) ([]byte, error) {
	if len(uses) == 0 {
		uses = browserUses
	}
	if owner == systemID {
		return nil, envelope.ErrInvalid
	}
	d, root, rootKey := newVaultDocument(environment, owner)
	defer rootKey.Clear()
	for _, use := range uses {
		for _, class := range classify.All {
			if err := addNewKey(d, root, rootKey, use, class); err != nil {
				return nil, err
			}
		}
	}
	return encodeVault(d, root, rootKey, secret)
}

// newVaultDocument returns an empty document and a new root for its keys. The caller clears the root's key.
func newVaultDocument(environment, owner string) (*envelope.Document, envelope.Root, *secret.Key) {
	d, rootKey := &envelope.Document{Environment: environment, Owner: owner}, secret.New()
	return d, d.NextRoot(rootKey.ID(), random16()), rootKey
}

func addNewKey(d *envelope.Document, root envelope.Root, rootKey *secret.Key, use format.Use, class classify.Class) error {
	key := secret.New()
	defer key.Clear()
	return addKey(d, root, rootKey, key, use, class)
}

// encodeVault adds the slot of a secret to a document, signs it and encodes it.
func encodeVault(d *envelope.Document, root envelope.Root, rootKey *secret.Key, with Secret) ([]byte, error) {
	if with.err != nil {
		return nil, with.err
	}
	slot := envelope.Slot{ID: random16(), Kind: envelope.SlotMasterKey, CreatedAt: now(), Root: root}
	var err error
	if with.password != nil {
		slot.Kind, slot.Salt = envelope.SlotPassword, random16()
		if slot.Iterations, err = secret.Iterations(with.iterations); err != nil {
			return nil, err
		}
	}
	key, err := with.slotKey(&slot)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, envelope.ErrWrongSecret
	}
	if slot.Wrapped, err = key.Wrap(rootKey, d.RootBinding(root)); err != nil {
		return nil, err
	}
	slot.KeyID = key.ID()
	if err := d.AddSlot(slot); err != nil {
		return nil, err
	}
	if err := d.Sign(authenticator(roots{root: {key: rootKey}}, nil)); err != nil {
		return nil, err
	}
	return d.Append(nil)
}
