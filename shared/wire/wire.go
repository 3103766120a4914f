// Package wire encodes big-endian integers and texts that follow their 16-bit length.
//
// The browser's core uses it instead of encoding/binary, which would add reflection to the core. The Append
// functions are not inlined: they have dozens of callers, and inlined copies would make the core larger.
package wire

// AppendUint appends the low size bytes of v. The size is at most 8.
//
//go:noinline
func AppendUint(dst []byte, v uint64, size int) []byte {
	all := [8]byte{byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return append(dst, all[8-size:]...)
}

// AppendBytes appends b.
//
//go:noinline
func AppendBytes(dst, b []byte) []byte { return append(dst, b...) }

// AppendText appends the low 16 bits of the length of s, then s. The caller must check that s has fewer than 65,536 bytes.
//
//go:noinline
func AppendText(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// Uint32 decodes the first 4 bytes of b. It panics if b is shorter.
func Uint32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Uint64 decodes the first 8 bytes of b. It panics if b is shorter.
func Uint64(b []byte) uint64 { return uint64(Uint32(b))<<32 | uint64(Uint32(b[4:])) }

// PutUint32 encodes v into the first 4 bytes of b. It panics if b is shorter.
func PutUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

// PutUint64 encodes v into the first 8 bytes of b. It panics if b is shorter.
func PutUint64(b []byte, v uint64) {
	PutUint32(b, uint32(v>>32))
	PutUint32(b[4:], uint32(v))
}
