package api

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// A buffer is empty, large enough, cleared before another request gets it, and never shared.
func TestBufferPoolClearsBuffers(t *testing.T) {
	t.Parallel()
	m := &callMemory{}
	for _, n := range []int{0, minPooled - 1, uncounted + packageOverhead + 1, 1 << 30} {
		require.Nil(t, m.buffer(n), n)
	}
	require.Empty(t, m.buffers)
	sizes := []int{minPooled, minPooled + 1, uncounted, uncounted + packageOverhead}
	var buffers [][]byte
	for _, n := range sizes {
		b := m.buffer(n)
		require.Empty(t, b)
		require.GreaterOrEqual(t, cap(b), n)
		b = b[:cap(b)]
		require.Equal(t, make([]byte, len(b)), b, "a buffer contains nothing of another request")
		for i := range b {
			b[i] = byte(n)
		}
		buffers = append(buffers, b)
	}
	for i, n := range sizes {
		require.Equal(t, bytes.Repeat([]byte{byte(n)}, len(buffers[i])), buffers[i], "the buffers do not overlap")
	}
	m.returnBuffers(2)
	require.Len(t, m.buffers, 2)
	require.Equal(t, bytes.Repeat([]byte{1}, len(buffers[1])), buffers[1], "the request keeps this buffer")
	require.Equal(t, make([]byte, len(buffers[2])), buffers[2])
	m.returnBuffers(0)
	for _, b := range buffers {
		require.Equal(t, make([]byte, len(b)), b)
	}
	require.Empty(t, m.buffers)
}
