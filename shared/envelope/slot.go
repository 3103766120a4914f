package envelope

import (
	"slices"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// SlotKind is the kind of secret that opens a slot. A document keeps slots of unknown kinds unchanged, so that later
// versions can add kinds.
type SlotKind uint8

// The kinds of slots.
const (
	SlotPassword  SlotKind = 1 // PBKDF2-HMAC-SHA256 of a password
	SlotMasterKey SlotKind = 2 // HKDF-SHA256 of 32 random bytes
	SlotPasskey   SlotKind = 3 // WebAuthn PRF output
	SlotRecovery  SlotKind = 4 // recovery code
	SlotKMS       SlotKind = 5 // a key encryption key (KEK) of a KMS, identified by URL
	SlotHost      SlotKind = 6 // a key that the host application supplies
	SlotRecipient SlotKind = 7 // the private key of a recipient
)

// Slot contains a root wrapped by the key that is derived from the slot's secret. Each slot is one way to open its root.
type Slot struct {
	ID         [16]byte // random
	Kind       SlotKind
	CreatedAt  int64        // milliseconds since 1970-01-01T00:00:00Z
	Root       Root         // root that the slot opens
	KeyID      format.KeyID // key id of the slot's key, which detects a wrong secret; zero for SlotKMS
	Salt       format.Salt  // for SlotPassword; zero for other known kinds
	Iterations uint32       // PBKDF2 iterations for SlotPassword; zero for other known kinds
	URL        string       // KEK of SlotKMS; empty for other known kinds
	Parameters []byte       // data of the kind, such as a credential id; empty for SlotPassword, SlotMasterKey and SlotKMS
	Wrapped    []byte       // wrapped root
	MAC        [MACSize]byte
}

// RetiredSlot records that a slot was removed. It keeps merges from restoring the slot.
type RetiredSlot struct {
	ID   [16]byte
	Root Root // root that the slot opened
	MAC  [RetiredMACSize]byte
}

// check returns ErrInvalid if the slot breaks rules 4 and 5 of SPEC.md section 3, except for its MAC.
func (s *Slot) check() error {
	if s.Root.Generation == 0 || !validTime(s.CreatedAt) ||
		len(s.URL) > MaxURL || len(s.Parameters) > MaxParameters || len(s.Wrapped) > MaxWrapped || !utf8.ValidString(s.URL) {
		return ErrInvalid
	}
	password, kms := s.Kind == SlotPassword, s.Kind == SlotKMS
	noDerivation := s.Iterations == 0 && s.Salt == format.Salt{}
	valid := false
	switch s.Kind {
	case 0:
	case SlotPassword, SlotMasterKey, SlotKMS:
		valid = (password || noDerivation) && password == (s.Iterations > 0) && len(s.Parameters) == 0
	case SlotPasskey, SlotRecovery, SlotHost, SlotRecipient:
		valid = noDerivation
	default:
		return nil
	}
	valid = valid && (s.URL != "") == kms && (s.KeyID == format.KeyID{}) == kms
	if kms || s.Kind == SlotRecipient {
		valid = valid && len(s.Wrapped) > 0
	} else {
		valid = valid && len(s.Wrapped) == WrappedSize
	}
	if !valid {
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

// body encodes the fields that the MAC authenticates. The encoding of a document differs: it groups retired slots by root.
func (r *RetiredSlot) body(c *codec) {
	c.fixed(r.ID[:])
	r.Root.fields(c)
}

// AddSlot adds a slot without a MAC; Sign makes the MAC. It returns ErrInvalid if the slot breaks a rule, if its ID is
// present or retired, if its root was replaced or if there are MaxSlots slots, and ErrKeyDestroyed if the document is
// shredded.
func (d *Document) AddSlot(s Slot) error {
	if d.Shredded() {
		return ErrKeyDestroyed
	}
	i, found := d.findSlot(&s.ID)
	if found || s.check() != nil || len(d.Slots) == MaxSlots || isReplaced(d.newestRoots(), &s.Root) {
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

// compare orders retired slots by root, then by id.
func (r *RetiredSlot) compare(root *Root, id *[16]byte) int {
	if c := compareRoots(&r.Root, root); c != 0 {
		return c
	}
	return compare(r.ID[:], id[:])
}

// RetireSlot removes a slot and adds a RetiredSlot without a MAC; Sign makes the MAC. It returns ErrUnknownKey if the
// document does not contain the slot, ErrInvalid if the slot is the last one that opens its root and records are under
// that root, and ErrTooLarge if there are too many retired slots. Replacing the root removes its retired slots.
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

// canRetire reports whether the slot with the given id may be removed: another slot opens its root, or no record is under
// its root and another slot opens another root.
func (d *Document) canRetire(root *Root, id [16]byte) bool {
	others := false
	for i := range d.Slots {
		if s := &d.Slots[i]; s.ID != id {
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

// Bounds on the PBKDF2-HMAC-SHA256 iterations of password slots (SPEC.md section 6).
const (
	MinIterations   = 100_000                // minimum of one slot
	MaxIterations   = classify.MaxIterations // maximum of one slot
	TotalIterations = 20_000_000             // maximum sum of all slots of a document that are within bounds
)

// CheckIterations returns classify.ErrIterations if the slot is a password slot with too few or too many iterations. A
// reader must skip such a slot.
func (s *Slot) CheckIterations() error {
	if s.Kind == SlotPassword && (s.Iterations < MinIterations || s.Iterations > MaxIterations) {
		return classify.ErrIterations
	}
	return nil
}

// CheckDerivations returns classify.ErrIterations if trying a password on all slots would take more than TotalIterations.
// It does not count slots that CheckIterations refuses, because a reader skips them.
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
