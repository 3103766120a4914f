package format

// Integers are big-endian. Package encoding/binary would bring reflection into the browser's core; functions that are inlined in
// dozens of places would make it larger, too, so those that append are not.

//go:noinline
func appendUint(dst []byte, v uint64, size int) []byte {
	whole := [8]byte{byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return append(dst, whole[8-size:]...)
}

//go:noinline
func appendBytes(dst, b []byte) []byte { return append(dst, b...) }

//go:noinline
func appendString16(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

func uint32Of(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func uint64Of(b []byte) uint64 { return uint64(uint32Of(b))<<32 | uint64(uint32Of(b[4:])) }

func putUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

func putUint64(b []byte, v uint64) {
	putUint32(b, uint32(v>>32))
	putUint32(b[4:], uint32(v))
}
