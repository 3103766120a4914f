// Package wire appends and reads big-endian integers, and texts that have their 16-bit length before them.
//
// It is instead of encoding/binary, which would bring reflection into the browser's core. The functions that append are not
// inlined: they are called in dozens of places, and so many copies would make the core larger.
package wire

// AppendUint appends the low bytes of v, as many as size says, at most 8.
//
//go:noinline
func AppendUint(dst []byte, v uint64, size int) []byte {
	whole := [8]byte{byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return append(dst, whole[8-size:]...)
}

// AppendBytes appends bytes.
//
//go:noinline
func AppendBytes(dst, b []byte) []byte { return append(dst, b...) }

// AppendText appends a text after its length, of which it keeps the low 16 bits: the caller has checked it.
//
//go:noinline
func AppendText(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// Uint32 reads the first 4 bytes. It panics if there are fewer.
func Uint32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Uint64 reads the first 8 bytes. It panics if there are fewer.
func Uint64(b []byte) uint64 { return uint64(Uint32(b))<<32 | uint64(Uint32(b[4:])) }

// PutUint32 writes the first 4 bytes. It panics if there are fewer.
func PutUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

// PutUint64 writes the first 8 bytes. It panics if there are fewer.
func PutUint64(b []byte, v uint64) {
	PutUint32(b, uint32(v>>32))
	PutUint32(b[4:], uint32(v))
}
