package classify_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
)

// table repeats the rules, so that an accidental change of one fails a test.
var table = []struct {
	class classify.Class
	name  string
	rules classify.Rules
}{
	{1, "public", classify.Rules{}},
	{2, "internal", classify.Rules{Encrypt: true, MinReadIterations: 100_000, MaxTTL: 30 * 24 * 60 * 60}},
	{3, "confidential", classify.Rules{Encrypt: true, MinReadIterations: 150_000, MaxTTL: 24 * 60 * 60}},
	{4, "pii", classify.Rules{Encrypt: true, MinReadIterations: 150_000, MaxTTL: 7 * 24 * 60 * 60}},
	{5, "phi", classify.Rules{Encrypt: true, MinReadIterations: 250_000, MaxTTL: 24 * 60 * 60}},
}

func TestRulesOfEveryClass(t *testing.T) {
	require.Len(t, classify.All, len(table))
	for i, row := range table {
		require.Equal(t, row.class, classify.All[i])
		require.True(t, row.class.Valid())
		require.Equal(t, row.name, row.class.String())
		require.Equal(t, row.rules, row.class.Rules())
		parsed, err := classify.Parse(row.name)
		require.NoError(t, err)
		require.Equal(t, row.class, parsed)
	}
	require.True(t, slices.IsSorted(classify.All[:]), "from the least to the most sensitive")
	require.EqualValues(t, 600_000, classify.MinWriteIterations)
	require.EqualValues(t, 10_000_000, classify.MaxIterations)
}

func TestOtherBytesAreInvalidClasses(t *testing.T) {
	for v := range 256 {
		c := classify.Class(v)
		if v >= 1 && v <= 5 {
			continue
		}
		require.False(t, c.Valid())
		require.Equal(t, "unknown", c.String())
		require.Equal(t, classify.PHI.Rules(), c.Rules(), "the strictest")
		require.ErrorIs(t, c.CheckMin(0), classify.ErrUnknown)
		require.ErrorIs(t, c.CheckMin(classify.PHI), classify.ErrUnknown)
	}
}

func TestParseRefusesUnknownNames(t *testing.T) {
	for _, name := range []string{"", "unknown", "PHI", "Public", " phi", "phi ", "phi\x00", "p", "secret"} {
		c, err := classify.Parse(name)
		require.ErrorIs(t, err, classify.ErrUnknown, "%q", name)
		require.Zero(t, c)
	}
}

func TestCheckMinComparesClasses(t *testing.T) {
	for _, c := range classify.All {
		require.NoError(t, c.CheckMin(0), "zero accepts every class")
		for _, min := range classify.All {
			if c >= min {
				require.NoError(t, c.CheckMin(min), "%s, minimum %s", c, min)
			} else {
				require.ErrorIs(t, c.CheckMin(min), classify.ErrTooLow, "%s, minimum %s", c, min)
			}
		}
		require.ErrorIs(t, c.CheckMin(classify.PHI+1), classify.ErrTooLow, "a minimum above every class")
	}
}

func TestCheckIterationsEnforcesBounds(t *testing.T) {
	for _, c := range classify.All {
		floor := max(c.Rules().MinReadIterations, 100_000) // public derives like internal
		for n, ok := range map[uint32]bool{
			0: false, 1: false, floor - 1: false, floor: true, classify.MinWriteIterations: true,
			classify.MaxIterations: true, classify.MaxIterations + 1: false, 1<<32 - 1: false,
		} {
			if err := c.CheckIterations(n); ok {
				require.NoError(t, err, "%s %d", c, n)
			} else {
				require.ErrorIs(t, err, classify.ErrIterations, "%s %d", c, n)
			}
		}
	}
	require.ErrorIs(t, classify.Class(0).CheckIterations(249_999), classify.ErrIterations, "an invalid class has the strictest minimum")
	require.NoError(t, classify.Class(0).CheckIterations(250_000))
}

// A package with the fewest iterations that a writer uses is accepted for every class.
func TestEveryClassReadsMinWriteIterations(t *testing.T) {
	for _, c := range classify.All {
		require.NoError(t, c.CheckIterations(classify.MinWriteIterations))
		require.LessOrEqual(t, c.Rules().MinReadIterations, uint32(classify.MinWriteIterations))
	}
}
