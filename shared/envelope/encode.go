package envelope

import (
	"encoding/binary"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

var documentMagic = [4]byte{'C', 'F', 'K', 1}

// Append appends the document's one encoding to dst (SPEC.md section 2). It returns ErrInvalid for a
// document that Check refuses or that has a record without a MAC, and ErrTooLarge beyond MaxDocument.
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
	dst = append(dst, documentMagic[:]...)
	dst = appendString16(dst, d.Environment)
	dst = appendString16(dst, d.Owner)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.Slots)))
	for i := range d.Slots {
		dst = d.Slots[i].Append(dst)
	}
	dst = d.appendRetired(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.Shreds)))
	for i := range d.Shreds {
		dst = append(d.Shreds[i].appendBody(dst), d.Shreds[i].MAC[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.Keysets)))
	for i := range d.Keysets {
		dst = d.Keysets[i].append(dst)
	}
	return dst
}

// appendRetired writes each root once, followed by its retired slots.
func (d *Document) appendRetired(dst []byte) []byte {
	counts := len(dst)
	dst = append(dst, 0, 0)
	groups := uint16(0)
	for rest := d.Retired; len(rest) > 0; groups++ {
		n := 1
		for n < len(rest) && rest[n].Root == rest[0].Root {
			n++
		}
		dst = binary.BigEndian.AppendUint16(rest[0].Root.Append(dst), uint16(n))
		for _, r := range rest[:n] {
			dst = append(append(dst, r.ID[:]...), r.MAC[:]...)
		}
		rest = rest[n:]
	}
	binary.BigEndian.PutUint16(dst[counts:], groups)
	return dst
}

func (s *Keyset) append(dst []byte) []byte {
	dst = append(dst, byte(s.Use), byte(s.Class))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.Primaries)))
	for i := range s.Primaries {
		dst = s.Primaries[i].Append(dst)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.Keys)))
	for i := range s.Keys {
		dst = s.Keys[i].Append(dst)
	}
	return dst
}

func appendString16(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// ParseDocument reads a whole document. It returns ErrUnsupportedVersion for another version, ErrTooLarge
// beyond MaxDocument and ErrMalformed for anything else that is not a document. The document does not alias
// b.
func ParseDocument(b []byte) (*Document, error) {
	if len(b) > MaxDocument {
		return nil, ErrTooLarge
	}
	if len(b) < 4 || [3]byte(b) != [3]byte(documentMagic[:]) {
		return nil, ErrMalformed
	}
	if b[3] != documentMagic[3] {
		return nil, ErrUnsupportedVersion
	}
	r := reader{rest: b[4:]}
	d := &Document{Environment: string(r.bytes16()), Owner: string(r.bytes16())}
	for n := r.count(maxSlots); n > 0 && !r.failed; n-- {
		d.Slots = append(d.Slots, r.slot())
	}
	r.retired(d)
	for n := r.count(maxShreds); n > 0 && !r.failed; n-- {
		d.Shreds = append(d.Shreds, r.shred())
	}
	for n := r.count(maxKeysets); n > 0 && !r.failed; n-- {
		d.Keysets = append(d.Keysets, r.keyset())
	}
	if r.failed || len(r.rest) > 0 || d.Check() != nil || !d.signed() {
		return nil, ErrMalformed
	}
	return d, nil
}

// ParseSlot reads the encoding of one slot, as a document holds it. It returns ErrMalformed for anything else.
func ParseSlot(b []byte) (Slot, error) {
	r := reader{rest: b}
	s := r.slot()
	if r.failed || len(r.rest) > 0 || s.check() != nil {
		return Slot{}, ErrMalformed
	}
	return s, nil
}

// reader takes fields off a document; after the first that is too short, failed stays set and every field is zero.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || len(r.rest) < n {
		r.failed = true
		return nil
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint(n int) (v uint64) {
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *reader) bytes16() []byte { return append([]byte(nil), r.take(int(r.uint(2)))...) }

func (r *reader) id() (id format.KeyID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) count(limit int) int {
	n := int(r.uint(2))
	if n > limit {
		r.failed = true
		return 0
	}
	return n
}

func (r *reader) root() (root Root) {
	copy(root.Line[:], r.take(len(root.Line)))
	root.Generation = uint32(r.uint(4))
	root.ID = r.id()
	return root
}

func (r *reader) mac() (mac [MACSize]byte) {
	copy(mac[:], r.take(len(mac)))
	return mac
}

func (r *reader) slot() (s Slot) {
	copy(s.ID[:], r.take(len(s.ID)))
	s.Kind = SlotKind(r.uint(1))
	s.CreatedAt = int64(r.uint(8))
	s.Root, s.KeyID = r.root(), r.id()
	copy(s.Salt[:], r.take(len(s.Salt)))
	s.Iterations = uint32(r.uint(4))
	s.URL = string(r.bytes16())
	s.Parameters = r.bytes16()
	s.Wrapped = r.bytes16()
	s.MAC = r.mac()
	return s
}

// retired reads the groups of retired slots. Groups ascend by root, each has one slot or more.
func (r *reader) retired(d *Document) {
	var former *Root
	for n := r.count(maxRetired); n > 0 && !r.failed; n-- {
		root := r.root()
		count := r.count(maxRetired - len(d.Retired))
		if count == 0 || former != nil && compareRoots(former, &root) >= 0 {
			r.failed = true
		}
		for ; count > 0 && !r.failed; count-- {
			one := Retired{Root: root}
			copy(one.ID[:], r.take(len(one.ID)))
			copy(one.MAC[:], r.take(len(one.MAC)))
			d.Retired = append(d.Retired, one)
		}
		former = &root
	}
}

func (r *reader) shred() (s Shred) {
	copy(s.Line[:], r.take(len(s.Line)))
	s.ShreddedAt = int64(r.uint(8))
	s.MAC = r.mac()
	return s
}

func (r *reader) keyset() (s Keyset) {
	s.Use, s.Class = format.Use(r.uint(1)), classify.Class(r.uint(1))
	for n := r.count(maxLines); n > 0 && !r.failed; n-- {
		s.Primaries = append(s.Primaries, Primary{Root: r.root(), Epoch: uint32(r.uint(4)), KeyID: r.id(), MAC: r.mac()})
	}
	for n := r.count(maxKeys); n > 0 && !r.failed; n-- {
		s.Keys = append(s.Keys, r.key())
	}
	return s
}

func (r *reader) key() Key {
	k := Key{ID: r.id(), State: State(r.uint(1)), CreatedAt: int64(r.uint(8))}
	k.Root = r.root()
	k.Wrapped = r.bytes16()
	k.MAC = r.mac()
	return k
}
