package jsonform

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// A ciphertext over the limit is refused because of its length, before it is decoded.
func TestUnmarshalChecksLengthBeforeDecoding(t *testing.T) {
	h := format.Header{Algorithm: format.AES256GCM, Use: format.UseCache, Source: format.FromKeyset, Class: 5, Type: format.Bytes}
	ciphertext := bytes.Repeat([]byte("!"), (format.MaxValue+1<<17)/3*4)
	_, err := join(h, make([]byte, format.NonceSize), ciphertext)
	require.ErrorIs(t, err, format.ErrTooLarge)
	_, err = Join(make([]byte, format.MaxValue+1<<17), newMetadata(&h, make([]byte, format.NonceSize)))
	require.ErrorIs(t, err, format.ErrTooLarge)
}
