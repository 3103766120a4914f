package envelope

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/coffer-storage/coffer/shared/format"
)

// LineSize is the size of a line's id in bytes.
const LineSize = 16

// Root names a root: the key that wraps data keys and authenticates the records under it.
type Root struct {
	// Line is random. A document's first root draws it, and every root that replaces or stands beside that one has the same.
	// A document has several lines only if its owner began again while the document was lost, and it was restored later.
	Line [LineSize]byte
	// Generation counts the replacements of the line's roots, from 1. A root of a lower generation than the line's
	// highest was replaced, and no merge brings its slots back.
	Generation uint32
	ID         format.KeyID // commitment of the root
}

// RootSize is the size of the encoding by which records name a root, in bytes.
const RootSize = LineSize + 4 + format.KeyIDSize

// ParseRoot reads the encoding of a root's name. It returns ErrMalformed for anything else.
func ParseRoot(b []byte) (Root, error) {
	r := reader{rest: b}
	root := r.root()
	if r.failed || len(r.rest) > 0 || root.Generation == 0 {
		return Root{}, ErrMalformed
	}
	return root, nil
}

// Append appends how records name the root to dst.
func (r *Root) Append(dst []byte) []byte {
	dst = append(dst, r.Line[:]...)
	dst = binary.BigEndian.AppendUint32(dst, r.Generation)
	return append(dst, r.ID[:]...)
}

// compareRoots orders roots by line, generation and id.
func compareRoots(a, b *Root) int {
	if c := bytes.Compare(a.Line[:], b.Line[:]); c != 0 {
		return c
	}
	return a.compareRank(b)
}

// compareRank orders roots of one line: the higher generation is newer.
func (r *Root) compareRank(other *Root) int {
	if r.Generation != other.Generation {
		if r.Generation < other.Generation {
			return -1
		}
		return 1
	}
	return compareIDs(r.ID, other.ID)
}

// Roots returns the roots that records of the document name, each once, in order.
func (d *Document) Roots() (all []Root) {
	for r := range d.named {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Root) int { return compareRoots(&a, &b) })
	return slices.Compact(all)
}

// named yields the root of each record, some of them often.
func (d *Document) named(yield func(*Root) bool) {
	for i := range d.Slots {
		if !yield(&d.Slots[i].Root) {
			return
		}
	}
	for i := range d.Retired {
		if !yield(&d.Retired[i].Root) {
			return
		}
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for j := range s.Primaries {
			if !yield(&s.Primaries[j].Root) {
				return
			}
		}
		for j := range s.Keys {
			if !yield(&s.Keys[j].Root) {
				return
			}
		}
	}
}

// Generation returns the highest generation of a line's roots; 0 if the document has no such line.
func (d *Document) Generation(line [LineSize]byte) (highest uint32) {
	for r := range d.named {
		if r.Line == line {
			highest = max(highest, r.Generation)
		}
	}
	return highest
}

// NextRoot returns how a new root of that id is named: of the line and generation in use, or the first one of the
// line fresh if the document has none. Of several lines it takes the one of the newest slot.
func (d *Document) NextRoot(id format.KeyID, fresh [LineSize]byte) Root {
	var newest *Slot
	for i := range d.Slots {
		if s := &d.Slots[i]; newest == nil || s.CreatedAt > newest.CreatedAt {
			newest = s
		}
	}
	if newest == nil {
		return Root{Line: fresh, Generation: 1, ID: id}
	}
	return Root{Line: newest.Root.Line, Generation: d.Generation(newest.Root.Line), ID: id}
}

// Under returns the document without the records under roots for which opened reports false. A reader that does not open all roots
// uses that document: a record under another root has no verified MAC, so anybody can have added it.
func (d *Document) Under(opened func(Root) bool) *Document {
	under := *d
	under.Slots = slices.DeleteFunc(slices.Clone(d.Slots), func(s Slot) bool { return !opened(s.Root) })
	under.Retired = slices.DeleteFunc(slices.Clone(d.Retired), func(r Retired) bool { return !opened(r.Root) })
	under.Keysets = nil
	for _, s := range d.Keysets {
		s.Primaries = slices.DeleteFunc(slices.Clone(s.Primaries), func(p Primary) bool { return !opened(p.Root) })
		s.Keys = slices.DeleteFunc(slices.Clone(s.Keys), func(k Key) bool { return !opened(k.Root) })
		if len(s.Keys) > 0 {
			under.Keysets = append(under.Keysets, s)
		}
	}
	return &under
}
