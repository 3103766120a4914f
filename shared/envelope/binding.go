package envelope

import "github.com/coffer-storage/coffer/shared/format"

// Labels of HKDF-SHA256's info input beside package format's (SPEC.md section 4).
const (
	LabelWrappingKey = "coffer/v1 wrapping key"
	labelWrappedKey  = "coffer/v1 wrapped key"
)

// Binding is the place of a wrapped key. A root has neither use nor class. It has a line and a generation, so that a root that
// was replaced does not pass for a later one.
type Binding struct {
	Environment string
	Owner       string
	Use         format.Use
	Class       uint8
	Line        [LineSize]byte // of a root
	Generation  uint32         // of a root
	ID          format.KeyID
}

// Append appends the additional data of a wrapped key (SPEC.md section 5), which binds it to its place: a
// wrapped key copied to another environment, owner, use or class does not unwrap.
func (b *Binding) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	b.fields(&c)
	return c.bytes
}

// ParseBinding reads what Append appends. It returns ErrMalformed for anything else.
func ParseBinding(b []byte) (parsed Binding, err error) {
	c := codec{bytes: b}
	if label := parsed.fields(&c); !c.readAll() || label != labelWrappedKey {
		return Binding{}, ErrMalformed
	}
	return parsed, nil
}

func (b *Binding) fields(c *codec) (label string) {
	label = labelWrappedKey
	c.text(&label)
	c.text(&b.Environment)
	c.text(&b.Owner)
	c.uint8((*uint8)(&b.Use))
	c.uint8(&b.Class)
	if b.Use == 0 {
		c.fixed(b.Line[:])
		c.uint32(&b.Generation)
	}
	c.fixed(b.ID[:])
	return label
}

// BindRoot returns the binding of a root of this document.
func (d *Document) RootBinding(root Root) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, Line: root.Line, Generation: root.Generation, ID: root.ID}
}

// BindKey returns the binding of a data key of this document.
func (d *Document) KeyBinding(use format.Use, class uint8, id format.KeyID) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, Use: use, Class: class, ID: id}
}
