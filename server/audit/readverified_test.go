package audit_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
)

// ReadVerified returns the lines of an intact log, and an error for any other log.
func TestReadVerifiedRefusesAlteredLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	f := open(t, path, audit.Options{MaxSize: 2000})
	for i := range 20 {
		require.NoError(t, f.Record(t.Context(), useEvent(i)))
	}
	require.NoError(t, f.Close())
	var seen []uint64
	each := func(filter audit.Filter) error {
		seen = nil
		return audit.ReadVerified(t.Context(), path, keyOf(t, path), &filter, func(l *audit.Line) { seen = append(seen, l.Seq) })
	}
	require.NoError(t, each(audit.Filter{}))
	require.Len(t, seen, 20)
	require.True(t, slices.IsSorted(seen))
	require.NoError(t, each(audit.Filter{Tenant: "nobody"}))
	require.Empty(t, seen)
	names := readContent(t, path).names
	appendTo(t, names[len(names)-1], linesOfOtherLog(t, 21)[20])
	require.ErrorIs(t, each(audit.Filter{}), audit.ErrAltered)
}
