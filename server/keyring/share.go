package keyring

import (
	"context"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// browserUses is what a browser seals and opens.
var browserUses = []format.Use{format.UseStorage, format.UseService}

// Share gives a document of the tenant's keys of some uses, of all classes, for a browser or another program:
// those keys under a root of its own, which only the password opens. Without uses it is storage and service,
// what a browser has. Nothing else of the tenant can be reached from it. The iterations are those of PBKDF2,
// at least classify.MinWriteIterations; a password in the form of a master key (32 bytes in base64) needs none. What
// is shared cannot be taken back but by rotating the keys.
func (t *Tenant) ExportKeyset(ctx context.Context, password string, iterations uint32, uses ...format.Use) ([]byte, error) {
	if len(uses) == 0 {
		uses = browserUses
	}
	ctx, cancel := context.WithTimeout(ctx, t.ring.patience)
	defer cancel()
	if err := t.add(ctx, uses, classify.All[:]); err != nil {
		return nil, err
	}
	v, err := t.ready()
	if err != nil {
		return nil, err
	}
	root := secret.New()
	defer root.Clear()
	d := &envelope.Document{Environment: v.Environment(), Owner: t.id}
	name := d.NextRoot(root.ID(), random16())
	for _, s := range v.document.Keysets {
		if !slices.Contains(uses, s.Use) {
			continue
		}
		s.Primaries = []envelope.Primary{{Root: name, Epoch: s.Epoch(), KeyID: s.Primary()}}
		s.Keys = slices.Clone(s.Keys)
		for i := range s.Keys {
			k := &s.Keys[i]
			if k.Root, k.MAC = name, [envelope.MACSize]byte{}; k.State == envelope.Destroyed {
				continue
			}
			if k.Wrapped, err = root.Wrap(v.keys[k.ID], d.KeyBinding(s.Use, uint8(s.Class), k.ID)); err != nil {
				return nil, err
			}
		}
		d.Keysets = append(d.Keysets, s)
	}
	return finish(d, root, name, password, iterations)
}

// NewDocument makes a document with a key of each class for some uses, as a browser makes its own. Without
// uses it is storage and service.
func NewVaultDocument(environment, owner, password string, iterations uint32, uses ...format.Use) ([]byte, error) {
	if len(uses) == 0 {
		uses = browserUses
	}
	if owner == systemID {
		return nil, envelope.ErrInvalid
	}
	d, root := &envelope.Document{Environment: environment, Owner: owner}, secret.New()
	defer root.Clear()
	name := d.NextRoot(root.ID(), random16())
	for _, use := range uses {
		for _, class := range classify.All {
			dek := secret.New()
			defer dek.Clear()
			if err := addKey(d, name, root, dek, use, class); err != nil {
				return nil, err
			}
		}
	}
	return finish(d, root, name, password, iterations)
}

// finish adds the slot of a password or master key, signs the document and encodes it.
func finish(d *envelope.Document, root *secret.Key, name envelope.Root, password string, iterations uint32) ([]byte, error) {
	slot := envelope.Slot{ID: random16(), Kind: envelope.SlotMasterKey, CreatedAt: now(), Root: name}
	var err error
	if _, err := secret.ParseMasterKey(password); err != nil {
		slot.Kind, slot.Salt = envelope.SlotPassword, random16()
		if slot.Iterations, err = secret.Iterations(iterations); err != nil {
			return nil, err
		}
	}
	key, err := slotKey(&slot, password)
	if err != nil {
		return nil, err
	}
	defer key.Clear()
	if slot.Wrapped, err = key.Wrap(root, d.RootBinding(name)); err != nil {
		return nil, err
	}
	slot.KeyID = key.ID()
	if err := d.AddSlot(slot); err != nil {
		return nil, err
	}
	if err := d.Sign(authenticator(roots{name: {key: root}}, nil)); err != nil {
		return nil, err
	}
	return d.Append(nil)
}

// OpenDocument unlocks a keyset document, such as a browser's, with one of its secrets: a password, or a
// master key of 32 bytes in base64. It returns envelope.ErrMalformed, ErrUnsupportedVersion or ErrTooLarge
// for what is no document, classify.ErrIterations for a derivation that is out of bounds,
// envelope.ErrWrongSecret, and envelope.ErrAuthentication where the document was altered.
func OpenVault(document []byte, password string) (*Vault, error) {
	d, err := envelope.ParseDocument(document)
	if err != nil {
		return nil, err
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
		key, err := slotKey(s, password)
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
	return unlockVault(d, opened)
}

// slotKey derives the key that a password yields for a slot; nil if the slot takes another kind of secret.
func slotKey(s *envelope.Slot, password string) (*secret.Key, error) {
	switch s.Kind {
	case envelope.SlotMasterKey:
		masterKey, err := secret.ParseMasterKey(password)
		if err != nil {
			return nil, nil
		}
		defer clear(masterKey)
		return secret.FromMasterKey(masterKey)
	case envelope.SlotPassword:
		p, err := secret.NewPassword(password)
		if err != nil {
			return nil, err
		}
		return p.Key(s.Salt, s.Iterations)
	}
	return nil, nil
}
