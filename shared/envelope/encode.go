package envelope

// documentMagic begins a document. Its last byte is the version.
const documentMagic = "CFK\x01"

// Append appends the document's encoding to dst (SPEC.md section 2). It returns ErrInvalid if Check refuses the document
// or if a record has no MAC, and ErrTooLarge if the encoding exceeds MaxDocument.
func (d *Document) Append(dst []byte) ([]byte, error) {
	if err := d.Check(); err != nil {
		return dst, err
	}
	if !d.signed() {
		return dst, ErrInvalid
	}
	start := len(dst)
	if dst = d.encode(dst); len(dst)-start > MaxDocument {
		return dst[:start], ErrTooLarge
	}
	return dst, nil
}

func (d *Document) encode(dst []byte) []byte {
	c := codec{write: true, bytes: append(dst, documentMagic...)}
	d.fields(&c)
	return c.bytes
}

func (d *Document) fields(c *codec) {
	c.text(&d.Environment)
	c.text(&d.Owner)
	list(c, &d.Slots, MaxSlots, (*Slot).fields)
	d.retiredFields(c)
	list(c, &d.Shreds, maxShreds, (*ShredRecord).fields)
	list(c, &d.Keysets, maxKeysets, (*Keyset).fields)
}

// retiredFields encodes or decodes the retired slots. They are grouped by root: each root is written once, followed by its
// slots. Roots ascend, and each has at least one slot.
func (d *Document) retiredFields(c *codec) {
	groups := 0
	for i := range d.Retired {
		if i == 0 || d.Retired[i].Root != d.Retired[i-1].Root {
			groups++
		}
	}
	at := 0
	for groups = c.count(groups, maxRetired); groups > 0 && !c.failed; groups-- {
		var root Root
		n := 0
		if c.write {
			root = d.Retired[at].Root
			for at+n < len(d.Retired) && d.Retired[at+n].Root == root {
				n++
			}
		}
		root.fields(c)
		n = c.count(n, maxRetired-at)
		if !c.write && (n == 0 || at > 0 && compareRoots(&d.Retired[at-1].Root, &root) >= 0) {
			c.failed = true
		}
		for ; n > 0 && !c.failed; n-- {
			if !c.write {
				d.Retired = append(d.Retired, RetiredSlot{Root: root})
			}
			r := &d.Retired[at]
			c.fixed(r.ID[:])
			c.fixed(r.MAC[:])
			at++
		}
	}
}

func (s *Keyset) fields(c *codec) {
	c.uint8((*uint8)(&s.Use))
	c.uint8((*uint8)(&s.Class))
	list(c, &s.Primaries, maxLines, (*Primary).fields)
	list(c, &s.Keys, maxKeys, (*Key).fields)
}

// ParseDocument decodes a document. It does not verify its MACs; see Document.Verify. It returns ErrTooLarge for more
// than MaxDocument bytes, ErrUnsupportedVersion for another version, and ErrMalformed for other bytes that are not a
// document. The document does not alias b.
func ParseDocument(b []byte) (*Document, error) {
	const magic = documentMagic
	if len(b) > MaxDocument {
		return nil, ErrTooLarge
	}
	if len(b) < len(magic) || string(b[:3]) != magic[:3] {
		return nil, ErrMalformed
	}
	if b[3] != magic[3] {
		return nil, ErrUnsupportedVersion
	}
	c := codec{bytes: b[len(magic):]}
	d := &Document{}
	d.fields(&c)
	if !c.readAll() || d.Check() != nil || !d.signed() {
		return nil, ErrMalformed
	}
	return d, nil
}

// ParseSlot decodes a single slot, which is encoded as in a document but may be without its MAC. It returns ErrMalformed
// for other bytes.
func ParseSlot(b []byte) (s Slot, err error) {
	c := codec{bytes: b}
	if s.fields(&c); !c.readAll() || s.check() != nil {
		return Slot{}, ErrMalformed
	}
	return s, nil
}
