package envelope

import (
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
func ParseRoot(b []byte) (root Root, err error) {
	c := codec{bytes: b}
	if root.fields(&c); !c.readAll() || root.Generation == 0 {
		return Root{}, ErrMalformed
	}
	return root, nil
}

// Append appends how records name the root to dst.
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

// Roots returns the roots that records of the document name, each once, in order.
func (d *Document) Roots() (all []Root) {
	d.eachRoot(func(r *Root) { all = append(all, *r) })
	slices.SortFunc(all, func(a, b Root) int { return compareRoots(&a, &b) })
	return slices.Compact(all)
}

// named calls yield with the root of each record, some of them often.
func (d *Document) eachRoot(yield func(*Root)) {
	d.eachRecord(func(r *recordRef) bool {
		if r.root != nil {
			yield(r.root)
		}
		return true
	})
}

// newest returns a root of the highest generation of each line, ascending by line.
func (d *Document) newestRoots() (roots []*Root) {
	d.eachRoot(func(r *Root) {
		i, there := findLine(roots, &r.Line)
		if !there {
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

// replaced reports whether a root is of a lower generation than the newest one of its line.
func isReplaced(newest []*Root, r *Root) bool {
	i, there := findLine(newest, &r.Line)
	return there && r.Generation < newest[i].Generation
}

// Generation returns the highest generation of a line's roots; 0 if the document has no such line.
func (d *Document) Generation(line [LineSize]byte) uint32 {
	newest := d.newestRoots()
	if i, there := findLine(newest, &line); there {
		return newest[i].Generation
	}
	return 0
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
func (d *Document) OnlyUnder(opened func(Root) bool) *Document {
	under := *d
	under.Slots = slices.DeleteFunc(slices.Clone(d.Slots), func(s Slot) bool { return !opened(s.Root) })
	under.Retired = slices.DeleteFunc(slices.Clone(d.Retired), func(r RetiredSlot) bool { return !opened(r.Root) })
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
