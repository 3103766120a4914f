package vectors_test

import (
	"bytes"
	"strings"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// documentReader does what shared/envelope/SPEC.md section 6 says, without the check that a mutation names.
type documentReader struct{ mutation string }

func (r documentReader) checks(name string) bool { return r.mutation != name }

// kindOf is the kind of slots that a kind of secret is tried on.
var kindOf = map[string]envelope.SlotKind{"passphrase": envelope.SlotPassword, "master-key": envelope.SlotMasterKey, "kms": envelope.SlotKMS}

// open returns the roots that a secret opens, after it has verified and unwrapped everything under them. Without a key of shreds it
// does not verify shred records.
func (r documentReader) open(d *envelope.Document, secret vectors.Secret, shredKey []byte) (map[format.KeyID][]byte, error) {
	if err := d.CheckDerivations(); err != nil && r.checks("iterations of all slots") {
		return nil, err
	}
	roots, failed := map[format.KeyID][]byte{}, error(envelope.ErrWrongSecret)
	for i := range d.Slots {
		s := &d.Slots[i]
		if s.Kind != kindOf[secret.Kind] {
			continue
		}
		root, err := r.openSlot(s, d.BindRoot(s.Root), secret)
		switch err {
		case nil:
			roots[s.Root.ID] = root
		case envelope.ErrWrongSecret:
		case classify.ErrIterations:
			if !r.checks("other slots than the one out of range") {
				return nil, err
			}
			failed = err
		default:
			return nil, err
		}
	}
	if len(roots) == 0 {
		return nil, failed
	}
	if err := d.Verify(r.authenticator(roots, shredKey)); err != nil {
		return nil, err
	}
	return roots, r.unwrapKeys(d, roots)
}

// refuse opens a document as the reader that the vector describes.
func (r documentReader) refuse(d *envelope.Document, v vectors.UnlockRefusal) (map[format.KeyID][]byte, error) {
	if v.Environment != "" && v.Environment != d.Environment && r.checks("environment of a document") {
		return nil, envelope.ErrInvalid
	}
	return r.open(d, v.Secret, v.ShredKey)
}

// authenticator leaves out the kind of record that a mutation names.
func (r documentReader) authenticator(roots map[format.KeyID][]byte, shredKey []byte) envelope.Authenticator {
	mac := plain.Authenticator(roots, shredKey)
	return func(record *envelope.Record) (made [envelope.MACSize]byte, ok bool) {
		for _, kind := range []string{"slot", "retired slot", "key", "primary", "shred"} {
			if !r.checks("MAC of a "+kind) && strings.Contains(string(record.Message[:40]), "v1 "+kind+" record") {
				return made, false
			}
		}
		if !r.checks("key of shred records") && record.Shred {
			for _, root := range roots {
				return [envelope.MACSize]byte(plain.RecordMAC(root, record.Message)), true
			}
		}
		return mac(record)
	}
}

func (r documentReader) openSlot(s *envelope.Slot, binding envelope.Binding, secret vectors.Secret) ([]byte, error) {
	if err := s.CheckIterations(); err != nil && r.checks("iterations of a slot") {
		return nil, err
	}
	key, err := fromSecret(&secret, s.Salt, s.Iterations)
	if err != nil {
		return nil, err
	}
	if s.Kind == envelope.SlotKMS {
		return r.openKMS(key, binding, s.Wrapped)
	}
	if plain.KeyID(key) != s.KeyID && r.checks("key id of a slot") {
		return nil, envelope.ErrWrongSecret
	}
	return r.unwrap(key, binding, s.Wrapped, "root id")
}

func (r documentReader) openKMS(kek []byte, binding envelope.Binding, wrapped []byte) ([]byte, error) {
	root, err := plain.UnwrapLocal(kek, binding, wrapped)
	if err == nil || r.checks("binding inside") && r.checks("root id of a KMS") && r.checks("key id of a KMS") {
		return root, err
	}
	id := plain.KeyID(kek)
	if len(wrapped) < len(id)+format.NonceSize || !bytes.Equal(wrapped[:len(id)], id[:]) && r.checks("key id of a KMS") {
		return nil, err
	}
	opened, err := plain.OpenWrapped(kek, binding, wrapped[len(id):])
	if err != nil || len(opened) < format.KeySize {
		return nil, envelope.ErrAuthentication
	}
	inside, root := opened[:len(opened)-format.KeySize], opened[len(opened)-format.KeySize:]
	if r.checks("binding inside") && !bytes.Equal(inside, binding.Append(nil)) || r.checks("root id of a KMS") && plain.KeyID(root) != binding.ID {
		return nil, envelope.ErrAuthentication
	}
	return root, nil
}

func (r documentReader) unwrap(under []byte, binding envelope.Binding, wrapped []byte, idCheck string) ([]byte, error) {
	key, err := plain.OpenWrapped(under, binding, wrapped)
	if err != nil || plain.KeyID(key) != binding.ID && r.checks(idCheck) {
		return nil, envelope.ErrAuthentication
	}
	return key, nil
}

func (r documentReader) unwrapKeys(d *envelope.Document, roots map[format.KeyID][]byte) error {
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			if roots[k.Root.ID] == nil || k.State == envelope.Destroyed {
				continue
			}
			if _, err := r.unwrap(roots[k.Root.ID], d.BindKey(s.Use, uint8(s.Class), k.ID), k.Wrapped, "key id"); err != nil {
				return err
			}
		}
	}
	return nil
}
