package envelope

import (
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Limits of a keyset document (SPEC.md section 3). Sizes are in bytes.
const (
	MaxDocument    = 256 << 10                                          // encoded document
	MaxEnvironment = 64                                                 // environment label, UTF-8
	MaxURL         = 1024                                               // URL of a KEK, UTF-8
	MaxParameters  = 4096                                               // parameters of a slot
	MaxWrapped     = 4096                                               // wrapped root; a KMS's ciphertext may be longer than WrappedSize
	WrappedSize    = format.NonceSize + format.KeySize + format.TagSize // key wrapped by AES-256-GCM
	MaxSlots       = 256                                                // number of slots
	maxRetired     = 4096                                               // retired slots
	maxShreds      = 64
	maxLines       = 16 // primaries of one keyset
	maxKeysets     = 30
	maxKeys        = 1024 // keys of one keyset
)

// Document holds all wrapped keys of one owner, which is a tenant or a vault. The document of the empty owner is the
// environment's system document (SPEC.md section 10).
//
// A change to a record removes its MAC. Call Sign before Append, which refuses a record without a MAC. A Document is not
// safe for concurrent use if it is changed.
type Document struct {
	Environment string        // label such as dev, staging or prod, to which every wrapped key is bound
	Owner       string        // tenant or vault id
	Slots       []Slot        // ascending by ID
	Retired     []RetiredSlot // ascending by root, then ID
	Shreds      []ShredRecord // ascending by line
	Keysets     []Keyset      // ascending by (Use, Class)

	backup bool // whether the slots are those of a backup, see Backup.SlotDocument
}

// Check returns ErrInvalid if the document breaks a rule of SPEC.md section 3. It does not check MACs.
func (d *Document) Check() error {
	if len(d.Environment) > MaxEnvironment || len(d.Owner) > format.MaxOwner ||
		!utf8.ValidString(d.Environment) || !utf8.ValidString(d.Owner) || d.exceedsLimits() || d.Owner == "" && len(d.Shreds) > 0 {
		return ErrInvalid
	}
	for i := range d.Slots {
		if d.Slots[i].check() != nil {
			return ErrInvalid
		}
	}
	for i := range d.Retired {
		if d.Retired[i].Root.Generation == 0 {
			return ErrInvalid
		}
	}
	for i := range d.Shreds {
		if !validTime(d.Shreds[i].ShreddedAt) {
			return ErrInvalid
		}
	}
	for i := range d.Keysets {
		if d.Keysets[i].check() != nil {
			return ErrInvalid
		}
	}
	if !d.sorted() || !d.hasNoVoid() {
		return ErrInvalid
	}
	return nil
}

func (d *Document) sorted() bool {
	return ascends(len(d.Slots), func(i, j int) int { return compare(d.Slots[i].ID[:], d.Slots[j].ID[:]) }) &&
		ascends(len(d.Retired), func(i, j int) int { return d.Retired[i].compare(&d.Retired[j].Root, &d.Retired[j].ID) }) &&
		ascends(len(d.Shreds), func(i, j int) int { return compare(d.Shreds[i].Line[:], d.Shreds[j].Line[:]) }) &&
		ascends(len(d.Keysets), func(i, j int) int { return d.Keysets[i].compare(d.Keysets[j].Use, d.Keysets[j].Class) })
}

// exceedsLimits reports whether a list of the document is longer than its limit.
func (d *Document) exceedsLimits() bool {
	if len(d.Slots) > MaxSlots || len(d.Retired) > maxRetired || len(d.Shreds) > maxShreds || len(d.Keysets) > maxKeysets {
		return true
	}
	for i := range d.Keysets {
		if len(d.Keysets[i].Keys) > maxKeys || len(d.Keysets[i].Primaries) > maxLines {
			return true
		}
	}
	return false
}

// check returns ErrInvalid if the keyset breaks a rule of SPEC.md section 3.
func (s *Keyset) check() error {
	if !validUse(s.Use, s.Class) || len(s.Keys) == 0 || !s.sorted() { // findKey below requires sorted keys
		return ErrInvalid
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		size := WrappedSize
		if k.State == Destroyed {
			size = 0
		}
		if k.State < Enabled || k.State > Destroyed || !validTime(k.CreatedAt) || k.Root.Generation == 0 || len(k.Wrapped) != size {
			return ErrInvalid
		}
		if _, found := s.findPrimary(&k.Root.Line); !found {
			return ErrInvalid
		}
	}
	for i := range s.Primaries {
		p := &s.Primaries[i]
		if p.Epoch == 0 || p.Root.Generation == 0 {
			return ErrInvalid
		}
		if k := s.Key(p.KeyID); k == nil || k.Root.Line != p.Root.Line {
			return ErrInvalid
		}
	}
	return nil
}

func (s *Keyset) sorted() bool {
	return ascends(len(s.Keys), func(i, j int) int { return compare(s.Keys[i].ID[:], s.Keys[j].ID[:]) }) &&
		ascends(len(s.Primaries), func(i, j int) int { return compare(s.Primaries[i].Root.Line[:], s.Primaries[j].Root.Line[:]) })
}

// findPrimary returns the position of a line's primary, or the position at which to insert it.
func (s *Keyset) findPrimary(line *[LineSize]byte) (int, bool) {
	return search(len(s.Primaries), func(i int) int { return compare(s.Primaries[i].Root.Line[:], line[:]) })
}

func validTime(ms int64) bool { return ms >= 0 && ms <= format.MaxTime }

// Keyset returns the keyset of a use and class, or nil if the document does not contain it. The keyset is part of the
// document, not a copy.
func (d *Document) Keyset(use format.Use, class classify.Class) *Keyset {
	for i := range d.Keysets {
		if d.Keysets[i].Use == use && d.Keysets[i].Class == class {
			return &d.Keysets[i]
		}
	}
	return nil
}

// RemainingRotations returns how many more keys can be added to every keyset before the document or a keyset reaches its
// limit. A destroyed key still counts. With many keysets, the size of the document is the limit that is reached first.
func (d *Document) RemainingRotations() int {
	keySize := len((&Key{Wrapped: make([]byte, WrappedSize)}).Append(nil))
	left := (MaxDocument - len(d.encode(nil))) / (keySize * max(1, len(d.Keysets)))
	for i := range d.Keysets {
		left = min(left, maxKeys-len(d.Keysets[i].Keys))
	}
	return max(0, min(left, maxKeys))
}
