package envelope

import "github.com/coffer-storage/coffer/shared/format"

// SlotKind says what kind of secret opens a slot.
type SlotKind uint8

const (
	SlotPassword  SlotKind = 1 // PBKDF2-HMAC-SHA256 of a password
	SlotMasterKey SlotKind = 2 // HKDF-SHA256 of 32 random bytes
	SlotPasskey   SlotKind = 3 // WebAuthn PRF output
	SlotRecovery  SlotKind = 4 // recovery code
	SlotKMS       SlotKind = 5 // a key encryption key outside, named by URL
)

// Slot is one way to a root: the root wrapped by the key that the slot's secret yields.
type Slot struct {
	ID         [16]byte // random
	Kind       SlotKind
	State      State // Enabled or Destroyed; a destroyed slot remains as its tombstone
	CreatedAt  int64 // milliseconds since 1970-01-01T00:00:00Z
	RootID     format.KeyID
	KeyID      format.KeyID // commitment of the slot's key; tells a wrong secret. Zero for SlotKMS.
	Salt       format.Salt  // of SlotPassword; zero otherwise
	Iterations uint32       // of SlotPassword; zero otherwise
	URL        string       // of SlotKMS; empty otherwise
	Wrapped    []byte       // the wrapped root; empty once destroyed
}

// Labels of HKDF-SHA256's info input beside package format's (SPEC.md section 4).
const (
	LabelWrappingKey = "coffer/v1 wrapping key"
	labelWrappedKey  = "coffer/v1 wrapped key"
)

// Binding is where a wrapped key belongs. A root has neither use nor class.
type Binding struct {
	Environment string
	Owner       string
	Use         format.Use
	Class       uint8
	ID          format.KeyID
}

// Append appends the additional data of a wrapped key (SPEC.md section 9.3), which binds it to its place: a
// wrapped key copied to another environment, owner, use or class does not unwrap.
func (b *Binding) Append(dst []byte) []byte {
	dst = appendString16(dst, labelWrappedKey)
	dst = appendString16(dst, b.Environment)
	dst = appendString16(dst, b.Owner)
	dst = append(dst, byte(b.Use), b.Class)
	return append(dst, b.ID[:]...)
}

// ParseBinding reads what Append appends. It returns ErrMalformed for anything else.
func ParseBinding(b []byte) (Binding, error) {
	r := reader{rest: b}
	label := string(r.bytes16())
	parsed := Binding{
		Environment: string(r.bytes16()), Owner: string(r.bytes16()), Use: format.Use(r.uint(1)), Class: uint8(r.uint(1)), ID: r.id(),
	}
	if r.failed || len(r.rest) > 0 || label != labelWrappedKey {
		return Binding{}, ErrMalformed
	}
	return parsed, nil
}

// BindRoot returns the binding of a root of this document.
func (d *Document) BindRoot(id format.KeyID) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, ID: id}
}

// BindKey returns the binding of a data key of this document.
func (d *Document) BindKey(use format.Use, class uint8, id format.KeyID) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, Use: use, Class: class, ID: id}
}
