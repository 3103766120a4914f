package format

import "math/bits"

// minPadded is the minimum length of a padded plaintext in bytes. Padmé alone hardly changes the lengths of short values.
const minPadded = 256

// PaddedSize returns the length in bytes to which a plaintext of n bytes is padded: Padmé of n + 1, at least 256 (SPEC.md
// section 6.3). It adds at most 12% to a plaintext of 256 bytes or more.
func PaddedSize(n int) int {
	size := max(n+1, minPadded)
	exponent := bits.Len(uint(size)) - 1
	zeroBits := exponent - bits.Len(uint(exponent)) // low bits of the padded length that are zero
	mask := 1<<zeroBits - 1
	return (size + mask) &^ mask
}

// AppendPadding appends the padding of a plaintext of n bytes, which are the last n bytes of dst.
func AppendPadding(dst []byte, n int) []byte {
	dst = append(dst, 0x80)
	return append(dst, make([]byte, PaddedSize(n)-n-1)...)
}

// trimPadding removes the zeros at the end and the 0x80 before them. It returns ErrMalformed if there is no 0x80.
func trimPadding(padded []byte) ([]byte, error) {
	n := len(padded)
	for n > 0 && padded[n-1] == 0 {
		n--
	}
	if n == 0 || padded[n-1] != 0x80 {
		return nil, ErrMalformed
	}
	return padded[:n-1], nil
}
