package classify_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
)

// The table of DESIGN.md section 3.
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

func TestTable(t *testing.T) {
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

func TestEveryOtherByteIsNoClass(t *testing.T) {
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

func TestParseRefuses(t *testing.T) {
	for _, name := range []string{"", "unknown", "PHI", "Public", " phi", "phi ", "phi\x00", "p", "secret"} {
		c, err := classify.Parse(name)
		require.ErrorIs(t, err, classify.ErrUnknown, "%q", name)
		require.Zero(t, c)
	}
}

func TestCheckMin(t *testing.T) {
	for _, c := range classify.All {
		require.NoError(t, c.CheckMin(0), "zero demands nothing")
		for _, least := range classify.All {
			if c >= least {
				require.NoError(t, c.CheckMin(least), "%s for %s", c, least)
			} else {
				require.ErrorIs(t, c.CheckMin(least), classify.ErrTooLow, "%s for %s", c, least)
			}
		}
		require.ErrorIs(t, c.CheckMin(classify.PHI+1), classify.ErrTooLow, "a demand that no class meets")
	}
}

func TestCheckIterations(t *testing.T) {
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
	require.ErrorIs(t, classify.Class(0).CheckIterations(249_999), classify.ErrIterations, "no class is held to the strictest")
	require.NoError(t, classify.Class(0).CheckIterations(250_000))
}

// What is written is read by every class, whatever it costs at least.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, c := range classify.All {
		require.NoError(t, c.CheckIterations(classify.MinWriteIterations))
		require.LessOrEqual(t, c.Rules().MinReadIterations, uint32(classify.MinWriteIterations))
	}
}
