package envelope_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestBudgetLimitsBytes(t *testing.T) {
	var b envelope.Budget
	require.True(t, b.Spend(format.MaxBytesPerSalt), "the limit itself is allowed")
	require.True(t, b.Spend(0))
	require.False(t, b.Spend(1))
	require.False(t, b.Spend(0), "it must stay false")

	var over envelope.Budget
	require.False(t, over.Spend(format.MaxBytesPerSalt+1))
	require.False(t, over.Spend(0), "a refused package counts, because the writer must draw a new salt")

	var pieces envelope.Budget
	for range format.MaxBytesPerSalt / format.MaxValue {
		require.True(t, pieces.Spend(format.MaxValue))
	}
	require.False(t, pieces.Spend(1))
}

// A negative size must not give back bytes that were spent.
func TestBudgetRefusesNegativeSizes(t *testing.T) {
	var b envelope.Budget
	require.True(t, b.Spend(format.MaxBytesPerSalt))
	for _, size := range []int{-1, -format.MaxBytesPerSalt, math.MinInt} {
		require.False(t, b.Spend(size))
	}
	require.False(t, b.Spend(1))
	require.False(t, new(envelope.Budget).Spend(math.MaxInt))
}

func TestBudgetIsSharedByConcurrentWriters(t *testing.T) {
	const writers, size = 8, 1 << 20
	var b envelope.Budget
	var granted atomic.Int64
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for b.Spend(size) {
				granted.Add(1)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, format.MaxBytesPerSalt/size, granted.Load(), "concurrent writers get exactly as much as one writer")
}
