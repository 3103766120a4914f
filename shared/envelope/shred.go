package envelope

// Shred records that a line was shredded: whatever was under its roots is gone, in this copy and every other. Its
// MAC is under the system document's key of UseShreds, so that shredding needs no key of the owner.
type ShredRecord struct {
	Line       [LineSize]byte
	ShreddedAt int64 // milliseconds since 1970-01-01T00:00:00Z
	MAC        [MACSize]byte
}

func (s *ShredRecord) fields(c *codec) {
	s.body(c)
	c.fixed(s.MAC[:])
}

func (s *ShredRecord) append() []byte {
	c := codec{write: true}
	s.fields(&c)
	return c.bytes
}

func (s *ShredRecord) body(c *codec) {
	c.fixed(s.Line[:])
	c.int64(&s.ShreddedAt)
}

// Lines returns the lines that the document has keys or slots of, ascending.
func (d *Document) Lines() (all [][LineSize]byte) {
	for _, r := range d.newestRoots() {
		all = append(all, r.Line)
	}
	return all
}

// Shred removes every slot and key of the document. Shred records stay, to be signed, so that a merge with any earlier copy
// brings nothing back. It returns ErrTooLarge if the document cannot hold more shred records.
func (d *Document) Shred(at int64) error { return d.ShredLines(d.Lines(), at) }

// ShredLines is Shred for some lines, whether the document has them or not.
func (d *Document) ShredLines(lines [][LineSize]byte, at int64) error {
	shreds := d.Shreds
	for _, line := range lines {
		i, there := findShred(shreds, &line)
		if !there {
			shreds = insertAt(shreds, i, &ShredRecord{Line: line, ShreddedAt: at})
		}
	}
	if len(shreds) > maxShreds {
		return ErrTooLarge
	}
	d.Shreds = shreds
	d.RemoveVoid()
	return nil
}

// Shredded reports whether the document was shredded and nothing is left that opens.
func (d *Document) Shredded() bool {
	return len(d.Shreds) > 0 && len(d.Slots) == 0 && len(d.Keysets) == 0
}

// findShred returns the position of a line's shred record, or the one at which to insert it.
func findShred(shreds []ShredRecord, line *[LineSize]byte) (int, bool) {
	return search(len(shreds), func(i int) int { return compare(shreds[i].Line[:], line[:]) })
}

// shreds reports whether a line was shredded.
func (d *Document) lineShredded(line *[LineSize]byte) bool {
	_, there := findShred(d.Shreds, line)
	return there
}

// void reports whether everything of a root is void but keys: the line was shredded, or the root was replaced.
func (d *Document) isVoid(newest []*Root, r *Root) bool {
	return d.lineShredded(&r.Line) || isReplaced(newest, r)
}

func (d *Document) isVoidSlot(newest []*Root, s *Slot) bool {
	_, retired := d.findRetired(&s.Root, &s.ID)
	return retired || d.isVoid(newest, &s.Root)
}

// settled reports whether there is nothing that Settle removes.
func (d *Document) hasNoVoid() bool {
	newest := d.newestRoots()
	for i := range d.Slots {
		if d.isVoidSlot(newest, &d.Slots[i]) {
			return false
		}
	}
	for i := range d.Retired {
		if d.isVoid(newest, &d.Retired[i].Root) {
			return false
		}
	}
	for _, r := range newest {
		if d.lineShredded(&r.Line) {
			return false
		}
	}
	return true
}

// Settle removes what is void: everything of shredded lines, retired slots, and slots and retired slots of roots that were replaced
// by ones of a higher generation.
func (d *Document) RemoveVoid() {
	newest := d.newestRoots()
	d.Slots = removeIf(d.Slots, func(s *Slot) bool { return d.isVoidSlot(newest, s) })
	d.Retired = removeIf(d.Retired, func(r *RetiredSlot) bool { return d.isVoid(newest, &r.Root) })
	var keysets []Keyset
	for _, s := range d.Keysets {
		s.Keys = removeIf(s.Keys, func(k *Key) bool { return d.lineShredded(&k.Root.Line) })
		s.Primaries = removeIf(s.Primaries, func(p *Primary) bool { return d.lineShredded(&p.Root.Line) })
		if len(s.Keys) > 0 {
			keysets = append(keysets, s)
		}
	}
	d.Keysets = keysets
}
