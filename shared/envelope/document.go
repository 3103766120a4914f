package envelope

import (
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Limits of a keyset document, sizes in bytes.
const (
	MaxDocument    = 256 << 10
	MaxEnvironment = 64
	MaxURL         = 1024
	MaxWrapped     = 4096 // a wrapped key; a KMS's ciphertext may be longer than ours
	WrappedSize    = format.NonceSize + format.KeySize + format.TagSize
	maxSlots       = 256 // the tombstones of retired ones among them
	maxKeysets     = format.Uses * len(classify.All)
	maxKeys        = 1024 // of one keyset
)

// Document holds all wrapped keys of one owner, a tenant or a vault.
type Document struct {
	Environment string   // label such as dev, staging, prod; bound to every wrapped key
	Owner       string   // tenant or vault id
	Slots       []Slot   // ascending by ID
	Keysets     []Keyset // ascending by (Use, Class)
}

// Check returns ErrInvalid where the document says something that none may say (SPEC.md section 9.2).
func (d *Document) Check() error {
	if len(d.Environment) > MaxEnvironment || len(d.Owner) > format.MaxOwner || d.Owner == "" ||
		!utf8.ValidString(d.Environment) || !utf8.ValidString(d.Owner) ||
		len(d.Slots) > maxSlots || len(d.Keysets) > maxKeysets {
		return ErrInvalid
	}
	for i := range d.Slots {
		if d.Slots[i].check() != nil || i > 0 && string(d.Slots[i-1].ID[:]) >= string(d.Slots[i].ID[:]) {
			return ErrInvalid
		}
	}
	for i := range d.Keysets {
		if d.Keysets[i].check() != nil || i > 0 && !d.Keysets[i-1].before(d.Keysets[i].Use, d.Keysets[i].Class) {
			return ErrInvalid
		}
	}
	return nil
}

func (s *Slot) check() error {
	password, kms := s.Kind == SlotPassword, s.Kind == SlotKMS
	fits := s.Kind >= SlotPassword && s.Kind <= SlotKMS &&
		(s.State == Enabled || s.State == Destroyed) &&
		validTime(s.CreatedAt) &&
		(s.Iterations > 0) == password && (password || s.Salt == format.Salt{}) &&
		(s.URL != "") == kms && len(s.URL) <= MaxURL && utf8.ValidString(s.URL) &&
		(s.KeyID == format.KeyID{}) == kms &&
		validWrapped(s.Wrapped, s.State, kms)
	if !fits {
		return ErrInvalid
	}
	return nil
}

func (s *Keyset) check() error {
	if s.Use < format.UseStorage || s.Use > format.Uses || !s.Class.Valid() || s.Epoch == 0 || len(s.Keys) > maxKeys {
		return ErrInvalid
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		if k.State < Enabled || k.State > Destroyed || !validTime(k.CreatedAt) || !validWrapped(k.Wrapped, k.State, false) {
			return ErrInvalid
		}
		if i > 0 && compareIDs(s.Keys[i-1].ID, k.ID) >= 0 {
			return ErrInvalid
		}
	}
	if _, ok := s.find(s.Primary); !ok {
		return ErrInvalid
	}
	return nil
}

func validTime(ms int64) bool { return ms >= 0 && ms <= format.MaxTime }

// validWrapped: a destroyed key has no bytes, one of ours has exactly WrappedSize, a KMS's has some.
func validWrapped(b []byte, s State, kms bool) bool {
	if s == Destroyed {
		return len(b) == 0
	}
	return kms && len(b) > 0 && len(b) <= MaxWrapped || len(b) == WrappedSize
}

func (s *Keyset) before(use format.Use, class classify.Class) bool {
	return s.Use < use || s.Use == use && s.Class < class
}

// Keyset returns the keyset of a use and class; nil if there is none.
func (d *Document) Keyset(use format.Use, class classify.Class) *Keyset {
	for i := range d.Keysets {
		if d.Keysets[i].Use == use && d.Keysets[i].Class == class {
			return &d.Keysets[i]
		}
	}
	return nil
}

// Room is how many times each keyset can get another key, at least: less is left of a key that is destroyed,
// but it keeps its place, in its keyset and in the document, whose size is bounded too. With many keysets
// that is what fills up first.
func (d *Document) Room() int {
	encoded, err := d.Append(nil)
	if err != nil {
		return 0
	}
	one := len((&Key{State: Enabled, Wrapped: make([]byte, WrappedSize)}).Append(nil))
	left := (MaxDocument - len(encoded)) / (one * max(1, len(d.Keysets)))
	for i := range d.Keysets {
		left = min(left, maxKeys-len(d.Keysets[i].Keys))
	}
	return min(left, maxKeys)
}

// AddSlot adds a slot. It returns ErrInvalid for a slot that no document may hold or whose ID is there already.
func (d *Document) AddSlot(s Slot) error {
	i := 0
	for i < len(d.Slots) && string(d.Slots[i].ID[:]) < string(s.ID[:]) {
		i++
	}
	if i < len(d.Slots) && d.Slots[i].ID == s.ID || s.check() != nil || len(d.Slots) == maxSlots {
		return ErrInvalid
	}
	d.Slots = append(d.Slots, s)
	copy(d.Slots[i+1:], d.Slots[i:])
	d.Slots[i] = s
	return nil
}

// AddKey makes k the primary of its use and class, in a new epoch, creating the keyset where it is the first.
// It returns ErrInvalid for a key that no document may hold or whose ID is there already.
func (d *Document) AddKey(use format.Use, class classify.Class, k Key) error {
	i := 0
	for i < len(d.Keysets) && d.Keysets[i].before(use, class) {
		i++
	}
	var grown Keyset
	exists := i < len(d.Keysets) && d.Keysets[i].Use == use && d.Keysets[i].Class == class
	if exists {
		grown = d.Keysets[i]
	} else {
		grown = Keyset{Use: use, Class: class}
	}
	at, found := grown.find(k.ID)
	if found || k.State != Enabled {
		return ErrInvalid
	}
	grown.Keys = append(append(append([]Key(nil), grown.Keys[:at]...), k), grown.Keys[at:]...)
	grown.Primary, grown.Epoch = k.ID, grown.Epoch+1
	if err := grown.check(); err != nil {
		return err
	}
	if exists {
		d.Keysets[i] = grown
	} else {
		d.Keysets = append(d.Keysets, grown)
		copy(d.Keysets[i+1:], d.Keysets[i:])
		d.Keysets[i] = grown
	}
	return nil
}

// Advance moves a key to a later state; destroying drops its wrapped bytes. Moving to the state it has is no
// error; moving back, or disabling or destroying the primary, is ErrInvalid, and a key that is not there
// ErrUnknownKey.
func (d *Document) Advance(use format.Use, class classify.Class, id format.KeyID, to State) error {
	s := d.Keyset(use, class)
	if s == nil {
		return ErrUnknownKey
	}
	i, ok := s.find(id)
	if !ok {
		return ErrUnknownKey
	}
	if to < s.Keys[i].State || to > Destroyed || id == s.Primary && (to == Disabled || to == Destroyed) {
		return ErrInvalid
	}
	s.Keys[i].State = to
	if to == Destroyed {
		s.Keys[i].Wrapped = nil
	}
	return nil
}
