package wire_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/wire"
)

// The encoding of integers equals that of encoding/binary.
func TestIntegersMatchEncodingBinary(t *testing.T) {
	for range 1000 {
		v := rand.Uint64()
		want := binary.BigEndian.AppendUint64([]byte("before"), v)
		require.Equal(t, want, wire.AppendUint([]byte("before"), v, 8))
		for size := range 9 {
			require.Equal(t, want[len(want)-size:], wire.AppendUint([]byte{}, v, size))
		}
		b := make([]byte, 9)
		wire.PutUint64(b, v)
		require.Equal(t, append(want[6:], 0), b)
		require.Equal(t, v, wire.Uint64(b))
		wire.PutUint32(b, uint32(v))
		require.Equal(t, uint32(v), binary.BigEndian.Uint32(b))
		require.Equal(t, uint32(v), wire.Uint32(b))
	}
}

func TestAppendTextWritesLengthFirst(t *testing.T) {
	require.Equal(t, "\x00\x00", string(wire.AppendText(nil, "")))
	long := string(make([]byte, 0x1234))
	require.Equal(t, "-\x12\x34"+long, string(wire.AppendText([]byte("-"), long)))
}
