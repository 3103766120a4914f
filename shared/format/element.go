package format

// Element is the type of a View's elements. They are stored in little-endian order (SPEC.md section 6.2).
type Element uint8

// The element types. A Uint8Array has the value type Bytes instead.
const (
	ElementDataView     Element = 1
	ElementInt8         Element = 2
	ElementUint8Clamped Element = 3
	ElementInt16        Element = 4
	ElementUint16       Element = 5
	ElementInt32        Element = 6
	ElementUint32       Element = 7
	ElementBigInt64     Element = 8
	ElementBigUint64    Element = 9
	ElementFloat16      Element = 10
	ElementFloat32      Element = 11
	ElementFloat64      Element = 12
)

var elementNames = [...]string{
	"", "DataView", "Int8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "BigInt64Array",
	"BigUint64Array", "Float16Array", "Float32Array", "Float64Array",
}

var elementSizes = [len(elementNames)]int{0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8}

// String returns the name of the ECMAScript class, or "unknown".
func (e Element) String() string { return nameOf(elementNames[:], uint8(e)) }

// ParseElement returns the element type with the given ECMAScript class name. It returns ErrMalformed for an unknown name.
func ParseElement(s string) (Element, error) {
	v, err := valueOf(elementNames[:], s)
	return Element(v), err
}

// Valid reports whether e is one of the element types.
func (e Element) Valid() bool { return e >= 1 && int(e) < len(elementNames) }

// Size returns the length of one element in bytes, or 0 for an invalid element type.
func (e Element) Size() int {
	if !e.Valid() {
		return 0
	}
	return elementSizes[e]
}

// fits reports whether n bytes are a whole number of elements.
func (e Element) fits(n int) bool { return e.Valid() && n%e.Size() == 0 }
