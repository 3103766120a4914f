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

func TestBudgetOfBytes(t *testing.T) {
	var b envelope.Budget
	require.True(t, b.Spend(format.MaxBytesPerSalt), "the limit itself may be spent")
	require.True(t, b.Spend(0))
	require.False(t, b.Spend(1))
	require.False(t, b.Spend(0), "once false it stays false")

	var over envelope.Budget
	require.False(t, over.Spend(format.MaxBytesPerSalt+1))
	require.False(t, over.Spend(0), "what was refused is counted: the writer draws a new salt")

	var pieces envelope.Budget
	for range format.MaxBytesPerSalt / format.MaxValue {
		require.True(t, pieces.Spend(format.MaxValue))
	}
	require.False(t, pieces.Spend(1))
}

// Sizes that cannot be never give back what was spent.
func TestBudgetOfNegativeSizes(t *testing.T) {
	var b envelope.Budget
	require.True(t, b.Spend(format.MaxBytesPerSalt))
	for _, size := range []int{-1, -format.MaxBytesPerSalt, math.MinInt} {
		require.False(t, b.Spend(size))
	}
	require.False(t, b.Spend(1))
	require.False(t, new(envelope.Budget).Spend(math.MaxInt))
}

func TestBudgetIsSpentTogether(t *testing.T) {
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
	require.EqualValues(t, format.MaxBytesPerSalt/size, granted.Load(), "as much as one writer alone, no more and no less")
}
