package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Promote makes a key that is enabled the primary of its keyset, in a new epoch: a rollback, where it was the
// primary before. It returns ErrUnknownKey for a key that is not there, and ErrKeyUnusable for one that must
// not seal.
func (d *Document) Promote(use format.Use, class classify.Class, id format.KeyID) error {
	s := d.Keyset(use, class)
	if s == nil {
		return ErrUnknownKey
	}
	i, ok := s.find(id)
	switch {
	case !ok:
		return ErrUnknownKey
	case s.Keys[i].State != Enabled:
		return ErrKeyUnusable
	case s.Primary != id:
		s.Primary, s.Epoch = id, s.Epoch+1
	}
	return nil
}

// RotatedAt is when the keyset's newest key was made, in milliseconds since 1970: that of the last rotation,
// rolled back or not.
func (s *Keyset) RotatedAt() (at int64) {
	for i := range s.Keys {
		at = max(at, s.Keys[i].CreatedAt)
	}
	return at
}

// Shred destroys every slot and every key, the primaries too. Nothing that was sealed under them opens again,
// and a merge with an earlier copy of the document brings nothing back.
func (d *Document) Shred() { d.ShredUntil(format.MaxTime) }

// ShredUntil is Shred for the slots and keys that were made until a time, in milliseconds since 1970: those
// of an owner that was shredded then, and begun anew since.
func (d *Document) ShredUntil(ms int64) {
	for i := range d.Slots {
		if s := &d.Slots[i]; s.CreatedAt <= ms {
			s.destroy()
		}
	}
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; k.CreatedAt <= ms {
				k.State, k.Wrapped = Destroyed, nil
			}
		}
	}
}

// DestroyKeys destroys the keys of these ids, primaries too: they were destroyed in a later copy of the
// document, which was lost. Ids that are of no key of it are none of its concern.
func (d *Document) DestroyKeys(ids map[format.KeyID]bool) {
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; ids[k.ID] {
				k.State, k.Wrapped = Destroyed, nil
			}
		}
	}
}

// Newest is when the last of the slots and keys was made, in milliseconds since 1970.
func (d *Document) Newest() (at int64) {
	for i := range d.Slots {
		at = max(at, d.Slots[i].CreatedAt)
	}
	for i := range d.Keysets {
		at = max(at, d.Keysets[i].RotatedAt())
	}
	return at
}

// Gone reports whether a root had slots and every one was destroyed, so that nothing opens it any more: its
// keys are as destroyed, whatever their state. A merge can leave such keys.
func (d *Document) Gone(root format.KeyID) bool {
	gone := false
	for i := range d.Slots {
		if s := &d.Slots[i]; s.RootID == root {
			if s.State == Enabled {
				return false
			}
			gone = true
		}
	}
	return gone
}

// Shredded reports whether no secret opens the document any more. It has slots, or it would be one that
// nobody can open yet.
func (d *Document) Shredded() bool {
	return len(d.Slots) > 0 && !slices.ContainsFunc(d.Slots, func(s Slot) bool { return s.State == Enabled })
}

// Roots gives the roots that something may be under: those that an enabled slot opens, and those of keys that
// are neither destroyed nor under a root that is gone.
func (d *Document) Roots() (all []format.KeyID) {
	add := func(id format.KeyID) {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	for i := range d.Slots {
		if d.Slots[i].State == Enabled {
			add(d.Slots[i].RootID)
		}
	}
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; k.State != Destroyed && !d.Gone(k.RootID) {
				add(k.RootID)
			}
		}
	}
	return all
}

// DestroySlot leaves a slot's tombstone in its place. It returns ErrUnknownKey for a slot that is not there,
// and ErrInvalid for the last way to a root under which there are keys: that is what Shred is for.
func (d *Document) DestroySlot(id [16]byte) error {
	i := slices.IndexFunc(d.Slots, func(s Slot) bool { return s.ID == id })
	if i < 0 {
		return ErrUnknownKey
	}
	if d.Slots[i].State == Enabled && !d.reachable(d.Slots[i].RootID, id) {
		return ErrInvalid
	}
	d.Slots[i].destroy()
	return nil
}

// reachable reports whether another slot than the one opens a root, or nothing is under it.
func (d *Document) reachable(root format.KeyID, without [16]byte) bool {
	for i := range d.Slots {
		if s := &d.Slots[i]; s.ID != without && s.State == Enabled && s.RootID == root {
			return true
		}
	}
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; k.RootID == root && k.State != Destroyed {
				return false
			}
		}
	}
	return slices.ContainsFunc(d.Slots, func(s Slot) bool { return s.ID != without && s.State == Enabled })
}

func (s *Slot) destroy() { s.State, s.Wrapped = Destroyed, nil }
