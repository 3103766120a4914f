package envelope

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// This test sets the counter directly, because counting to the limit would take longer than all other tests.
func TestBudgetLimitsPackages(t *testing.T) {
	var b Budget
	require.True(t, b.Spend(0))
	require.EqualValues(t, 1, b.packages.Load())
	b.packages.Store(format.MaxPackagesPerSalt - 2)
	require.True(t, b.Spend(0))
	require.True(t, b.Spend(0), "the limit itself is allowed")
	require.False(t, b.Spend(0))
	require.False(t, b.Spend(0), "it must stay false")
}
