package envelope

// ShredRecord records that a line was shredded, so that a merge with an earlier copy of the document restores nothing of
// the line. The system document's key of UseShreds authenticates it, so that shredding needs no key of the owner.
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

// Lines returns the lines of the document's roots, in ascending order.
func (d *Document) Lines() (all [][LineSize]byte) {
	for _, r := range d.newestRoots() {
		all = append(all, r.Line)
	}
	return all
}

// Shred removes every slot and key of the document, and adds a ShredRecord without a MAC for each line; Sign makes the
// MACs. at is the time in milliseconds since 1970-01-01T00:00:00Z. It returns ErrTooLarge if there would be too many shred
// records.
func (d *Document) Shred(at int64) error { return d.ShredLines(d.Lines(), at) }

// ShredLines is like Shred, for the given lines only. The document need not contain them.
func (d *Document) ShredLines(lines [][LineSize]byte, at int64) error {
	shreds := d.Shreds
	for _, line := range lines {
		i, found := findShred(shreds, &line)
		if !found {
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

// Shredded reports whether the document was shredded: it has shred records, but no slot and no keyset.
func (d *Document) Shredded() bool {
	return len(d.Shreds) > 0 && len(d.Slots) == 0 && len(d.Keysets) == 0
}

// findShred returns the position of a line's shred record, or the position at which to insert it.
func findShred(shreds []ShredRecord, line *[LineSize]byte) (int, bool) {
	return search(len(shreds), func(i int) int { return compare(shreds[i].Line[:], line[:]) })
}

// lineShredded reports whether the document has a shred record of the line.
func (d *Document) lineShredded(line *[LineSize]byte) bool {
	_, found := findShred(d.Shreds, line)
	return found
}

// isVoid reports whether slots and retired slots of a root are void, because its line was shredded or the root was
// replaced. Keys of a replaced root are not void.
func (d *Document) isVoid(newest []*Root, r *Root) bool {
	return d.lineShredded(&r.Line) || isReplaced(newest, r)
}

// isVoidSlot reports whether a slot is void or was retired.
func (d *Document) isVoidSlot(newest []*Root, s *Slot) bool {
	_, retired := d.findRetired(&s.Root, &s.ID)
	return retired || d.isVoid(newest, &s.Root)
}

// hasNoVoid reports whether RemoveVoid would remove no record.
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

// RemoveVoid removes void records (rule 8 of SPEC.md section 3): all records of shredded lines, slots that were retired,
// and slots and retired slots of replaced roots. It also removes keysets that have no keys left.
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
