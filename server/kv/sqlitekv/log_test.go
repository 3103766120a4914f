package sqlitekv

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// A checkpoint does not move the pages of a log that a reader needs. When the reader is done, the next write restarts
// the log.
func TestCheckpointKeepsPagesOfReaders(t *testing.T) {
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
	before := s.logPages.Load()
	require.True(t, s.checkpoint(s.checkpointer, passive))
	s.checkpointLog(t.Context()) // ends although a reader needs the log
	require.Equal(t, before, s.logPages.Load())

	require.NoError(t, r.Exec("COMMIT"))
	s.readers <- r
	require.False(t, s.checkpoint(s.checkpointer, passive))
	put(1)
	require.Less(t, s.logPages.Load(), before)
}
