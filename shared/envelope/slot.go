package envelope

import (
	"slices"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// SlotKind is the kind of secret that opens a slot. Slots of other kinds than these are kept as they are.
type SlotKind uint8

const (
	SlotPassword  SlotKind = 1 // PBKDF2-HMAC-SHA256 of a password
	SlotMasterKey SlotKind = 2 // HKDF-SHA256 of 32 random bytes
	SlotPasskey   SlotKind = 3 // WebAuthn PRF output
	SlotRecovery  SlotKind = 4 // recovery code
	SlotKMS       SlotKind = 5 // a key encryption key outside, named by URL
	SlotHost      SlotKind = 6 // a key that the host supplies
	SlotRecipient SlotKind = 7 // the private key of a recipient
)

// Slot is one way to a root: the root wrapped by the key that the slot's secret yields.
type Slot struct {
	ID         [16]byte // random
	Kind       SlotKind
	CreatedAt  int64 // milliseconds since 1970-01-01T00:00:00Z
	Root       Root
	KeyID      format.KeyID // commitment of the slot's key; tells a wrong secret. Zero for SlotKMS.
	Salt       format.Salt  // of SlotPassword; zero for other known kinds
	Iterations uint32       // of SlotPassword; zero for other known kinds
	URL        string       // of SlotKMS; empty for other known kinds
	Parameters []byte       // such as a credential id; empty for SlotPassword, SlotMasterKey and SlotKMS
	Wrapped    []byte       // the wrapped root
	MAC        [MACSize]byte
}

// Retired is what is left of a slot that was removed: no merge brings it back.
type RetiredSlot struct {
	ID   [16]byte
	Root Root // that the slot opened
	MAC  [RetiredMACSize]byte
}

func (s *Slot) check() error {
	if s.Root.Generation == 0 || !validTime(s.CreatedAt) ||
		len(s.URL) > MaxURL || len(s.Parameters) > MaxParameters || len(s.Wrapped) > MaxWrapped || !utf8.ValidString(s.URL) {
		return ErrInvalid
	}
	password, kms := s.Kind == SlotPassword, s.Kind == SlotKMS
	plain := s.Iterations == 0 && s.Salt == format.Salt{}
	fits := false
	switch s.Kind {
	case 0:
	case SlotPassword, SlotMasterKey, SlotKMS:
		fits = (password || plain) && password == (s.Iterations > 0) && len(s.Parameters) == 0
	case SlotPasskey, SlotRecovery, SlotHost, SlotRecipient:
		fits = plain
	default:
		return nil
	}
	fits = fits && (s.URL != "") == kms && (s.KeyID == format.KeyID{}) == kms
	if kms || s.Kind == SlotRecipient {
		fits = fits && len(s.Wrapped) > 0
	} else {
		fits = fits && len(s.Wrapped) == WrappedSize
	}
	if !fits {
		return ErrInvalid
	}
	return nil
}

// Append appends the slot's encoding to dst.
func (s *Slot) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	s.fields(&c)
	return c.bytes
}

func (s *Slot) fields(c *codec) {
	s.body(c)
	c.fixed(s.MAC[:])
}

func (s *Slot) body(c *codec) {
	c.fixed(s.ID[:])
	c.uint8((*uint8)(&s.Kind))
	c.int64(&s.CreatedAt)
	s.Root.fields(c)
	c.fixed(s.KeyID[:])
	c.fixed(s.Salt[:])
	c.uint32(&s.Iterations)
	c.text(&s.URL)
	c.bytes16(&s.Parameters)
	c.bytes16(&s.Wrapped)
}

// body is what a retired slot's MAC is of. Documents group retired slots by their root instead.
func (r *RetiredSlot) body(c *codec) {
	c.fixed(r.ID[:])
	r.Root.fields(c)
}

// AddSlot adds a slot, which is signed later. It returns ErrInvalid for a slot that no document may hold, whose ID is
// there already or was retired, or whose root was replaced; and ErrKeyDestroyed for a shredded document.
func (d *Document) AddSlot(s Slot) error {
	if d.Shredded() {
		return ErrKeyDestroyed
	}
	i, there := d.findSlot(&s.ID)
	if there || s.check() != nil || len(d.Slots) == MaxSlots || isReplaced(d.newestRoots(), &s.Root) {
		return ErrInvalid
	}
	if _, retired := d.findRetired(&s.Root, &s.ID); retired {
		return ErrInvalid
	}
	d.Slots = insertAt(d.Slots, i, &s)
	return nil
}

func (d *Document) findSlot(id *[16]byte) (int, bool) {
	return search(len(d.Slots), func(i int) int { return compare(d.Slots[i].ID[:], id[:]) })
}

func (d *Document) findRetired(root *Root, id *[16]byte) (int, bool) {
	return search(len(d.Retired), func(i int) int { return d.Retired[i].compare(root, id) })
}

// compare orders retired slots by root, then id.
func (r *RetiredSlot) compare(root *Root, id *[16]byte) int {
	if c := compareRoots(&r.Root, root); c != 0 {
		return c
	}
	return compare(r.ID[:], id[:])
}

// RetireSlot replaces a slot by its id, which is signed later. It returns ErrUnknownKey for a slot that is not there,
// ErrInvalid for the last way to a root under which there are keys, and ErrTooLarge if there are too many retired slots:
// replacing the root removes them.
func (d *Document) RetireSlot(id [16]byte) error {
	i, ok := d.findSlot(&id)
	if !ok {
		return ErrUnknownKey
	}
	s := &d.Slots[i]
	if !d.canRetire(&s.Root, id) {
		return ErrInvalid
	}
	if len(d.Retired) == maxRetired {
		return ErrTooLarge
	}
	at, _ := d.findRetired(&s.Root, &id)
	d.Retired = insertAt(d.Retired, at, &RetiredSlot{ID: id, Root: s.Root})
	d.Slots = slices.Delete(d.Slots, i, i+1)
	return nil
}

// reachable reports whether another slot opens a root, or nothing is under it and another slot opens another one.
func (d *Document) canRetire(root *Root, without [16]byte) bool {
	others := false
	for i := range d.Slots {
		if s := &d.Slots[i]; s.ID != without {
			if s.Root == *root {
				return true
			}
			others = true
		}
	}
	for i := range d.Keysets {
		for j := range d.Keysets[i].Keys {
			if k := &d.Keysets[i].Keys[j]; k.Root == *root {
				return false
			}
		}
	}
	return others && !slices.ContainsFunc(d.Retired, func(r RetiredSlot) bool { return r.Root == *root })
}

// Bounds of PBKDF2-HMAC-SHA256 that a reader of slots accepts, in iterations.
const (
	MinIterations   = 100_000
	MaxIterations   = classify.MaxIterations
	TotalIterations = 20_000_000 // of all slots of a document
)

// CheckIterations returns classify.ErrIterations if a reader must not derive the key of a password slot.
func (s *Slot) CheckIterations() error {
	if s.Kind == SlotPassword && (s.Iterations < MinIterations || s.Iterations > MaxIterations) {
		return classify.ErrIterations
	}
	return nil
}

// CheckDerivations returns classify.ErrIterations if trying a password on all slots costs more than a reader spends.
// Slots that CheckIterations refuses cost nothing.
func (d *Document) CheckDerivations() error {
	total := 0
	for i := range d.Slots {
		if s := &d.Slots[i]; s.Kind == SlotPassword && s.CheckIterations() == nil {
			total += int(s.Iterations)
		}
	}
	if total > TotalIterations {
		return classify.ErrIterations
	}
	return nil
}
