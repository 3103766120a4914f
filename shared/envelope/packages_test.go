package envelope

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// From inside, because counting to the limit would take longer than all other tests.
func TestBudgetOfPackages(t *testing.T) {
	var b Budget
	require.True(t, b.Spend(0))
	require.EqualValues(t, 1, b.packages.Load())
	b.packages.Store(format.MaxPackagesPerSalt - 2)
	require.True(t, b.Spend(0))
	require.True(t, b.Spend(0), "the limit itself may be spent")
	require.False(t, b.Spend(0))
	require.False(t, b.Spend(0), "once false it stays false")
}
