package limit_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/limit"
)

func TestBytes(t *testing.T) {
	b := limit.NewBytes(100, 60)
	require.NoError(t, b.Take("a", 60))
	require.ErrorIs(t, b.Take("a", 1), limit.ErrRateLimited)
	require.NoError(t, b.Take("b", 40))
	err := b.Take("c", 1)
	require.ErrorIs(t, err, limit.ErrRateLimited, "all together hold what they may")
	seconds, ok := limit.RetryAfter(err)
	require.True(t, ok)
	require.Equal(t, 1, seconds)
	b.Give("a", 60)
	require.NoError(t, b.Take("c", 60))
	b.Give("b", 40)
	require.NoError(t, b.Take("a", 40), "nothing is left of what was given back")
	require.NoError(t, limit.NewBytes(0, 0).Take("a", 1<<62))
}

func TestBytesTogether(t *testing.T) {
	b := limit.NewBytes(1000, 0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if b.Take("a", 100) == nil {
					b.Give("a", 100)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, b.Take("a", 1000))
}
