package format

import "math/bits"

// minPadded is the least length of a padded plaintext: Padmé alone leaves the lengths of short values almost as they are.
const minPadded = 256

// PaddedSize returns the length to which a plaintext of n bytes is padded: Padmé of n + 1, at least 256 (SPEC.md section
// 6.3). It adds at most 12% to longer ones.
func PaddedSize(n int) int {
	size := max(n+1, minPadded)
	exponent := bits.Len(uint(size)) - 1
	low := exponent - bits.Len(uint(exponent)) // so many low bits of the length are zero
	mask := 1<<low - 1
	return (size + mask) &^ mask
}

// AppendPadding appends the padding of a plaintext of n bytes, with which dst ends.
func AppendPadding(dst []byte, n int) []byte {
	dst = append(dst, 0x80)
	return append(dst, make([]byte, PaddedSize(n)-n-1)...)
}

// cutPadding removes the padding: zeros at the end, and 0x80 before them.
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
