package format

// Integers are big-endian. Package encoding/binary would bring reflection into the browser's core; functions that are inlined in
// dozens of places would make it larger, too, so these are not.

//go:noinline
func appendUint(dst []byte, v uint64, size int) []byte {
	for size--; size >= 0; size-- {
		dst = append(dst, byte(v>>(8*size)))
	}
	return dst
}

//go:noinline
func appendBytes(dst, b []byte) []byte { return append(dst, b...) }

//go:noinline
func appendString16(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

//go:noinline
func uintOf(b []byte) (v uint64) {
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}
