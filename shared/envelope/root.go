package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/format"
)

// LineSize is the size of the id of a line of roots in bytes.
const LineSize = 16

// Root identifies a root, which is the key that wraps data keys and authenticates records. A record is "under" the root
// that it names.
type Root struct {
	// Line is the id of a line of roots. The first root of a document starts a line with a random id. Roots that replace it
	// or are added to it have the same line. A document has several lines only if it was lost, its owner started a new
	// document, and the lost one was restored and merged later.
	Line [LineSize]byte
	// Generation counts the replacements of the line's roots, from 1. A root with a lower generation than another root of
	// its line was replaced, and a merge does not restore its slots.
	Generation uint32
	ID         format.KeyID // key id of the root
}

// RootSize is the size of an encoded Root in bytes.
const RootSize = LineSize + 4 + format.KeyIDSize

// ParseRoot decodes a Root. It returns ErrMalformed for other bytes.
func ParseRoot(b []byte) (root Root, err error) {
	c := codec{bytes: b}
	if root.fields(&c); !c.readAll() || root.Generation == 0 {
		return Root{}, ErrMalformed
	}
	return root, nil
}

// Append appends the encoding of the Root to dst.
func (r *Root) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	r.fields(&c)
	return c.bytes
}

func (r *Root) fields(c *codec) {
	c.fixed(r.Line[:])
	c.uint32(&r.Generation)
	c.fixed(r.ID[:])
}

// compareRoots orders roots by line, generation and id.
func compareRoots(a, b *Root) int {
	if c := compare(a.Line[:], b.Line[:]); c != 0 {
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
	return compare(r.ID[:], other.ID[:])
}

// Roots returns the roots that the document's records name, each once, ordered by line, generation and id.
func (d *Document) Roots() (all []Root) {
	d.eachRoot(func(r *Root) { all = append(all, *r) })
	slices.SortFunc(all, func(a, b Root) int { return compareRoots(&a, &b) })
	return slices.Compact(all)
}

// eachRoot calls yield with the root of each record, so it may yield a root several times.
func (d *Document) eachRoot(yield func(*Root)) {
	d.eachRecord(func(r *recordRef) bool {
		if r.root != nil {
			yield(r.root)
		}
		return true
	})
}

// newestRoots returns one root with the highest generation for each line, ascending by line.
func (d *Document) newestRoots() (roots []*Root) {
	d.eachRoot(func(r *Root) {
		i, found := findLine(roots, &r.Line)
		if !found {
			roots = append(roots, r)
			copy(roots[i+1:], roots[i:])
			roots[i] = r
		} else if r.Generation > roots[i].Generation {
			roots[i] = r
		}
	})
	return roots
}

func findLine(roots []*Root, line *[LineSize]byte) (int, bool) {
	return search(len(roots), func(i int) int { return compare(roots[i].Line[:], line[:]) })
}

// isReplaced reports whether a root has a lower generation than the newest root of its line.
func isReplaced(newest []*Root, r *Root) bool {
	i, found := findLine(newest, &r.Line)
	return found && r.Generation < newest[i].Generation
}

// Generation returns the highest generation of a line's roots, or 0 if the document does not have the line.
func (d *Document) Generation(line [LineSize]byte) uint32 {
	newest := d.newestRoots()
	if i, found := findLine(newest, &line); found {
		return newest[i].Generation
	}
	return 0
}

// NextRoot returns the Root for a new root with the given id. The new root joins the line and generation in use; if there
// are several lines, that of the newest slot. If the document has no slot, it starts the line fresh, which must be random.
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

// OnlyUnder returns a copy of the document that contains only the records under roots for which opened returns true. A
// reader that did not open all roots must use that copy: it cannot verify a record under another root, so an attacker may
// have added it.
func (d *Document) OnlyUnder(opened func(Root) bool) *Document {
	kept := *d
	kept.Slots = slices.DeleteFunc(slices.Clone(d.Slots), func(s Slot) bool { return !opened(s.Root) })
	kept.Retired = slices.DeleteFunc(slices.Clone(d.Retired), func(r RetiredSlot) bool { return !opened(r.Root) })
	kept.Keysets = nil
	for _, s := range d.Keysets {
		s.Primaries = slices.DeleteFunc(slices.Clone(s.Primaries), func(p Primary) bool { return !opened(p.Root) })
		s.Keys = slices.DeleteFunc(slices.Clone(s.Keys), func(k Key) bool { return !opened(k.Root) })
		if len(s.Keys) > 0 {
			kept.Keysets = append(kept.Keysets, s)
		}
	}
	return &kept
}
