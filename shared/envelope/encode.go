package envelope

import (
	"encoding/binary"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

var documentMagic = [4]byte{'C', 'F', 'K', 1}

// Append appends the document's one encoding to dst (SPEC.md section 9.1). It returns ErrInvalid for a
// document that Check refuses and ErrTooLarge beyond MaxDocument.
func (d *Document) Append(dst []byte) ([]byte, error) {
	if err := d.Check(); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, documentMagic[:]...)
	dst = appendString16(dst, d.Environment)
	dst = appendString16(dst, d.Owner)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.Slots)))
	for i := range d.Slots {
		dst = d.Slots[i].Append(dst)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.Keysets)))
	for i := range d.Keysets {
		dst = d.Keysets[i].append(dst)
	}
	if len(dst)-start > MaxDocument {
		return dst[:start], ErrTooLarge
	}
	return dst, nil
}

// Append appends the slot's encoding to dst.
func (s *Slot) Append(dst []byte) []byte {
	dst = append(dst, s.ID[:]...)
	dst = append(dst, byte(s.Kind), byte(s.State))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.CreatedAt))
	dst = append(dst, s.RootID[:]...)
	dst = append(dst, s.KeyID[:]...)
	dst = append(dst, s.Salt[:]...)
	dst = binary.BigEndian.AppendUint32(dst, s.Iterations)
	dst = appendString16(dst, s.URL)
	return appendString16(dst, string(s.Wrapped))
}

func (s *Keyset) append(dst []byte) []byte {
	dst = append(dst, byte(s.Use), byte(s.Class))
	dst = binary.BigEndian.AppendUint32(dst, s.Epoch)
	dst = append(dst, s.Primary[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.Keys)))
	for i := range s.Keys {
		dst = s.Keys[i].Append(dst)
	}
	return dst
}

// Append appends the key's encoding to dst.
func (k *Key) Append(dst []byte) []byte {
	dst = append(dst, k.ID[:]...)
	dst = append(dst, byte(k.State))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.CreatedAt))
	dst = append(dst, k.RootID[:]...)
	return appendString16(dst, string(k.Wrapped))
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
	for n := r.count(maxKeysets); n > 0 && !r.failed; n-- {
		d.Keysets = append(d.Keysets, r.keyset())
	}
	if r.failed || len(r.rest) > 0 || d.Check() != nil {
		return nil, ErrMalformed
	}
	return d, nil
}

// OwnerOf gives the owner that stands at the beginning of a document, be the rest of it damaged; empty where
// that is, too.
func OwnerOf(b []byte) string {
	r := reader{rest: b}
	r.take(len(documentMagic))
	r.bytes16()
	return string(r.bytes16())
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

func (r *reader) slot() (s Slot) {
	copy(s.ID[:], r.take(len(s.ID)))
	s.Kind, s.State = SlotKind(r.uint(1)), State(r.uint(1))
	s.CreatedAt = int64(r.uint(8))
	s.RootID, s.KeyID = r.id(), r.id()
	copy(s.Salt[:], r.take(len(s.Salt)))
	s.Iterations = uint32(r.uint(4))
	s.URL = string(r.bytes16())
	s.Wrapped = r.bytes16()
	return s
}

func (r *reader) keyset() (s Keyset) {
	s.Use, s.Class = format.Use(r.uint(1)), classify.Class(r.uint(1))
	s.Epoch = uint32(r.uint(4))
	s.Primary = r.id()
	for n := r.count(maxKeys); n > 0 && !r.failed; n-- {
		s.Keys = append(s.Keys, r.key())
	}
	return s
}

func (r *reader) key() Key {
	k := Key{ID: r.id(), State: State(r.uint(1)), CreatedAt: int64(r.uint(8))}
	k.RootID = r.id()
	k.Wrapped = r.bytes16()
	return k
}
