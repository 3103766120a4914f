package sqlitekv

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// A log that a reader needs is not all moved. Once none does, the next write begins it again.
func TestLogIsMovedBesideReaders(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put := func(n int) {
		for i := range n {
			require.NoError(t, kv.Set(t.Context(), s, fmt.Sprint("k", i), make([]byte, chunkSize), time.Hour))
		}
	}
	put(1)
	r := <-s.readers
	require.NoError(t, r.Exec("BEGIN; SELECT id FROM store"))
	put(20)
	before := s.pages.Load()
	require.True(t, s.checkpoint(s.mover, beside))
	s.moveLog(t.Context()) // ends all the same
	require.Equal(t, before, s.pages.Load())

	require.NoError(t, r.Exec("COMMIT"))
	s.readers <- r
	require.False(t, s.checkpoint(s.mover, beside))
	put(1)
	require.Less(t, s.pages.Load(), before)
}
