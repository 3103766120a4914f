package vectors_test

import (
	"encoding/hex"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// kindOf maps a kind of secret to the kind of slots on which it is tried.
var kindOf = map[string]envelope.SlotKind{"passphrase": envelope.SlotPassword, "master-key": envelope.SlotMasterKey, "kms": envelope.SlotKMS}

// openRoots unlocks a document with a secret (shared/envelope/SPEC.md section 6). It verifies and unwraps everything under
// the opened roots and returns them. If shredKey is nil, it does not verify shred records.
func openRoots(d *envelope.Document, secret vectors.Secret, shredKey []byte) (plain.Roots, error) {
	if err := d.CheckDerivations(); err != nil {
		return nil, err
	}
	roots, failed := plain.Roots{}, error(envelope.ErrWrongSecret)
	for i := range d.Slots {
		s := &d.Slots[i]
		if s.Kind != kindOf[secret.Kind] {
			continue
		}
		root, err := openSlot(s, d.RootBinding(s.Root), secret)
		switch err {
		case nil:
			roots[s.Root] = root
		case envelope.ErrWrongSecret:
		case classify.ErrIterations:
			failed = err
		default:
			return nil, err
		}
	}
	if len(roots) == 0 {
		return nil, failed
	}
	if err := d.Verify(plain.Authenticator(roots, shredKey)); err != nil {
		return nil, err
	}
	return roots, unwrapKeys(d, roots)
}

// openRefused opens a document as the vector's reader would.
func openRefused(v vectors.UnlockRefusal) error {
	d, err := envelope.ParseDocument(v.Bytes)
	if err == nil && v.Environment != "" && v.Environment != d.Environment {
		err = envelope.ErrInvalid
	}
	if err == nil {
		_, err = openRoots(d, v.Secret, v.ShredKey)
	}
	return err
}

func openSlot(s *envelope.Slot, binding envelope.Binding, secret vectors.Secret) ([]byte, error) {
	if err := s.CheckIterations(); err != nil {
		return nil, err
	}
	key, err := fromSecret(&secret, s.Salt, s.Iterations)
	if err != nil {
		return nil, err
	}
	id := plain.KeyID(key)
	if s.Kind == envelope.SlotKMS {
		if s.URL != "base64key://"+hex.EncodeToString(id[:8]) {
			return nil, envelope.ErrWrongSecret
		}
		return plain.UnwrapLocal(key, binding, s.Wrapped)
	}
	if id != s.KeyID {
		return nil, envelope.ErrWrongSecret
	}
	return plain.Unwrap(key, binding, s.Wrapped)
}

func unwrapKeys(d *envelope.Document, roots plain.Roots) error {
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			if roots[k.Root] == nil || k.State == envelope.Destroyed {
				continue
			}
			if _, err := plain.Unwrap(roots[k.Root], d.KeyBinding(s.Use, uint8(s.Class), k.ID), k.Wrapped); err != nil {
				return err
			}
		}
	}
	return nil
}
