package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// AddKey makes k the primary of its use and class, in a new epoch, and creates the keyset for the first one. Both
// records are signed later. It returns ErrInvalid for a key that no document may hold or whose ID is there already.
func (d *Document) AddKey(use format.Use, class classify.Class, k Key) error {
	i, exists := search(len(d.Keysets), func(i int) int { return d.Keysets[i].compare(use, class) })
	grown := Keyset{Use: use, Class: class}
	if exists {
		grown = d.Keysets[i]
	}
	at, found := grown.findKey(&k.ID)
	if found || k.State != Enabled {
		return ErrInvalid
	}
	grown.Keys = insertAt(grown.Keys, at, &k)
	grown.Primaries = slices.Clone(grown.Primaries)
	if err := grown.setPrimary(&k); err != nil {
		return err
	}
	if len(grown.Keys) > maxKeys || len(grown.Primaries) > maxLines || grown.check() != nil {
		return ErrInvalid
	}
	if exists {
		d.Keysets[i] = grown
	} else {
		d.Keysets = insertAt(d.Keysets, i, &grown)
	}
	return nil
}

// Advance moves a key to a later state; destroying drops its wrapped bytes. Moving to the state that it has is no
// error; moving back, or disabling or destroying the primary, is ErrInvalid, and a key that is not there
// ErrUnknownKey.
func (d *Document) Advance(use format.Use, class classify.Class, id format.KeyID, to State) error {
	s := d.Keyset(use, class)
	if s == nil || s.Key(id) == nil {
		return ErrUnknownKey
	}
	k := s.Key(id)
	if to < k.State || to > Destroyed || id == s.Primary() && (to == Disabled || to == Destroyed) {
		return ErrInvalid
	}
	k.advance(to)
	return nil
}

// advance moves a key to a later state, and leaves it alone if it has that state or a later one.
func (k *Key) advance(to State) {
	if to <= k.State {
		return
	}
	k.State, k.MAC = to, [MACSize]byte{}
	if to == Destroyed {
		k.Wrapped = nil
	}
}

// Promote makes an enabled key the primary of its keyset, in a new epoch: a rollback if it was the
// primary before. It returns ErrUnknownKey for a key that is not there, and ErrKeyUnusable for one that must
// not seal.
func (d *Document) Promote(use format.Use, class classify.Class, id format.KeyID) error {
	s := d.Keyset(use, class)
	if s == nil || s.Key(id) == nil {
		return ErrUnknownKey
	}
	k := s.Key(id)
	if k.State != Enabled {
		return ErrKeyUnusable
	}
	if s.Primary() == id {
		return nil
	}
	return s.setPrimary(k)
}

// DestroyKeys destroys the keys of these ids, primaries too: a later copy of the document, which was lost, had them
// destroyed. It ignores ids that the document does not have.
func (d *Document) DestroyKeys(ids map[format.KeyID]bool) {
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; ids[k.ID] {
				k.advance(Destroyed)
			}
		}
	}
}

// MoveKey puts a key under another root of its line, which wrapped it, together with the primary if that is the key; both are
// signed later. The state may advance at the same time. A destroyed key has no wrapped bytes.
func (d *Document) MoveKey(use format.Use, class classify.Class, id format.KeyID, root Root, state State, wrapped []byte) error {
	s := d.Keyset(use, class)
	if s == nil || s.Key(id) == nil {
		return ErrUnknownKey
	}
	k := s.Key(id)
	if state < k.State || root.Line != k.Root.Line {
		return ErrInvalid
	}
	moved := *k
	moved.Root, moved.State, moved.Wrapped, moved.MAC = root, state, wrapped, [MACSize]byte{}
	if state == Destroyed {
		moved.Wrapped = nil
	}
	*k = moved
	for i := range s.Primaries {
		if p := &s.Primaries[i]; p.KeyID == id && p.Root != root {
			p.Root, p.MAC = root, [MACSize]byte{}
		}
	}
	return nil
}
