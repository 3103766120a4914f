package envelope

import "github.com/coffer-storage/coffer/shared/format"

// LabelWrappingKey is the info input of HKDF-SHA256 for the key that wraps other keys (SPEC.md section 5).
const LabelWrappingKey = "coffer/v1 wrapping key"

// labelWrappedKey begins the additional data of a wrapped key.
const labelWrappedKey = "coffer/v1 wrapped key"

// Binding identifies a wrapped key and its place (SPEC.md section 5). A root has no use and no class. Its line and
// generation are bound so that a replaced root cannot be passed off as a later one.
type Binding struct {
	Environment string         // environment of the document
	Owner       string         // owner of the document
	Use         format.Use     // use of the keyset; 0 for a root
	Class       uint8          // class of the keyset; 0 for a root
	Line        [LineSize]byte // line of a root; zero for a data key
	Generation  uint32         // generation of a root; zero for a data key
	ID          format.KeyID   // key id of the wrapped key
}

// Append appends the encoding of the binding to dst. It is the additional data of the wrapped key, so a wrapped key that
// was copied to another environment, owner, use or class does not unwrap.
func (b *Binding) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	b.fields(&c)
	return c.bytes
}

// ParseBinding decodes a binding. It returns ErrMalformed for other bytes.
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

// RootBinding returns the binding of a root of this document.
func (d *Document) RootBinding(root Root) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, Line: root.Line, Generation: root.Generation, ID: root.ID}
}

// KeyBinding returns the binding of a data key of this document.
func (d *Document) KeyBinding(use format.Use, class uint8, id format.KeyID) Binding {
	return Binding{Environment: d.Environment, Owner: d.Owner, Use: use, Class: class, ID: id}
}
