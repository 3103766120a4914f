package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// AddKey adds k and makes it the primary of a use and class, in a new epoch. It creates the keyset if necessary. The
// key and the primary have no MAC until Sign is called. It returns ErrInvalid if the key breaks a rule, is not enabled or has an ID
// that the keyset contains, or if the keyset is full, and ErrTooLarge if the epochs are used up.
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

// Advance moves a key to a later state, or leaves it if it has that state. Destroying a key removes its wrapped bytes. It
// returns ErrUnknownKey if the document does not contain the key, and ErrInvalid if the key has a later state, or if the
// primary would be disabled or destroyed.
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

// advance moves a key to a later state. It does nothing if the key has that state or a later one.
func (k *Key) advance(to State) {
	if to <= k.State {
		return
	}
	k.State, k.MAC = to, [MACSize]byte{}
	if to == Destroyed {
		k.Wrapped = nil
	}
}

// Promote makes an enabled key the primary of its keyset, in a new epoch. It does nothing if the key is the primary. If
// the key was the primary earlier, this is a rollback. It returns ErrUnknownKey if the document does not contain the key,
// ErrKeyUnusable if the key is not enabled, and ErrTooLarge if the epochs are used up.
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

// DestroyKeys destroys the keys with these ids, even primaries. A restore uses it for keys that were destroyed after the
// backup was made. It ignores ids that the document does not contain.
func (d *Document) DestroyKeys(ids map[format.KeyID]bool) {
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; ids[k.ID] {
				k.advance(Destroyed)
			}
		}
	}
}

// MoveKey moves a key under another root of its line: wrapped is the key wrapped by that root. If the key is a primary, its
// record moves too. Both records lose their MACs; Sign makes them. The state may advance at the same time; a destroyed
// key drops its wrapped bytes. It returns ErrUnknownKey if the document does not contain the key, and ErrInvalid for an
// earlier state or a root of another line.
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
