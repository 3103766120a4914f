package envelope

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Shred records that a line was shredded: whatever was under its roots is gone, in this copy and every other. Its
// MAC is under the system document's key of UseShreds, so that shredding needs no key of the owner.
type Shred struct {
	Line       [LineSize]byte
	ShreddedAt int64 // milliseconds since 1970-01-01T00:00:00Z
	MAC        [MACSize]byte
}

func (s *Shred) appendBody(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, s.Line[:]...), uint64(s.ShreddedAt))
}

// Lines returns the lines that the document has keys or slots of, ascending.
func (d *Document) Lines() (all [][LineSize]byte) {
	for r := range d.named {
		if !slices.Contains(all, r.Line) {
			all = append(all, r.Line)
		}
	}
	slices.SortFunc(all, func(a, b [LineSize]byte) int { return bytes.Compare(a[:], b[:]) })
	return all
}

// Shred removes every slot and key of the document. Shred records stay, to be signed, so that a merge with any earlier copy
// brings nothing back. It returns ErrTooLarge if the document cannot hold more shred records.
func (d *Document) Shred(at int64) error { return d.ShredLines(d.Lines(), at) }

// ShredLines is Shred for some lines, whether the document has them or not.
func (d *Document) ShredLines(lines [][LineSize]byte, at int64) error {
	shreds := slices.Clone(d.Shreds)
	for _, line := range lines {
		i, there := slices.BinarySearchFunc(shreds, line, func(s Shred, line [LineSize]byte) int { return bytes.Compare(s.Line[:], line[:]) })
		if !there {
			shreds = slices.Insert(shreds, i, Shred{Line: line, ShreddedAt: at})
		}
	}
	if len(shreds) > maxShreds {
		return ErrTooLarge
	}
	d.Shreds = shreds
	d.prune(false)
	return nil
}

// Shredded reports whether the document was shredded and nothing is left that opens.
func (d *Document) Shredded() bool {
	return len(d.Shreds) > 0 && len(d.Slots) == 0 && len(d.Keysets) == 0
}

// prune removes what is void: everything of shredded lines, retired slots, and slots and retired slots of roots
// that were replaced. It reports whether there was anything; with dry it removes nothing.
func (d *Document) prune(dry bool) (changed bool) {
	generations := map[[LineSize]byte]uint32{}
	for r := range d.named {
		generations[r.Line] = max(generations[r.Line], r.Generation)
	}
	shredded := map[[LineSize]byte]bool{}
	for i := range d.Shreds {
		shredded[d.Shreds[i].Line] = true
	}
	void := func(r *Root) bool { return shredded[r.Line] || r.Generation < generations[r.Line] }
	keptSlots := without(d.Slots, func(s *Slot) bool { return void(&s.Root) || d.retired(s) })
	keptRetired := without(d.Retired, func(r *Retired) bool { return void(&r.Root) })
	changed = len(keptSlots) != len(d.Slots) || len(keptRetired) != len(d.Retired)
	var keysets []Keyset
	for _, s := range d.Keysets {
		keys := without(s.Keys, func(k *Key) bool { return shredded[k.Root.Line] })
		primaries := without(s.Primaries, func(p *Primary) bool { return shredded[p.Root.Line] })
		changed = changed || len(keys) != len(s.Keys) || len(primaries) != len(s.Primaries)
		if s.Keys, s.Primaries = keys, primaries; len(keys) > 0 {
			keysets = append(keysets, s)
		}
	}
	if !dry && changed {
		d.Slots, d.Retired, d.Keysets = keptSlots, keptRetired, keysets
	}
	return changed
}

// without returns a new list of the elements that are not to go, or the list itself if all stay.
func without[T any](all []T, gone func(*T) bool) []T {
	first := 0
	for first < len(all) && !gone(&all[first]) {
		first++
	}
	if first == len(all) {
		return all
	}
	kept := append([]T(nil), all[:first]...)
	for i := first + 1; i < len(all); i++ {
		if !gone(&all[i]) {
			kept = append(kept, all[i])
		}
	}
	return kept
}
