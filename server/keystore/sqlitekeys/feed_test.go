package sqlitekeys

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// edit executes SQL on the database, as an operator with an SQL client would.
func edit(t *testing.T, s *Store, query string, args ...any) {
	t.Helper()
	require.NoError(t, s.transact(t.Context(), write, s.path, func(c *sqlitefile.Conn) error { return c.Run(query, args...) }))
}

// follow reads the feed as a server does. It reports whether it read a change of a name, or has to reread everything.
func follow(t *testing.T, s *Store, at keystore.Position, name string) (next keystore.Position, noticed bool) {
	t.Helper()
	changes, next, err := s.Changes(t.Context(), at)
	if err != nil {
		require.ErrorIs(t, err, keystore.ErrFeedLost)
		return keystoretest.CurrentPosition(t, s), true
	}
	for _, change := range changes {
		noticed = noticed || change.Name == name
	}
	return next, noticed
}

// An entry of the feed at an invalid place hides no later change from a reader, whether or not it read that entry.
func TestInvalidPlaceHidesNoChange(t *testing.T) {
	t.Parallel()
	for _, place := range []int64{math.MaxInt64, math.MaxInt64 - 1, placeLimit, placeLimit - 1, 1000, 3, -1, math.MinInt64} {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, "a", "1")
		before := keystoretest.CurrentPosition(t, s)
		edit(t, s, "INSERT OR REPLACE INTO feed (place, kind, name) VALUES (?, 'keyset', x'00')", place)
		after, _ := follow(t, s, before, "")
		for i, name := range []string{"b", "c", "d", "e"} {
			put(t, s, name, "1")
			noticed := false
			after, noticed = follow(t, s, after, name)
			require.True(t, noticed, "place %d, change %d", place, i)
		}
		_, noticed := follow(t, s, before, "e")
		require.True(t, noticed, "place %d, a reader that read nothing in the meantime", place)
	}
}

// The feed has only one entry, at an invalid place.
func TestFeedWithOnlyAnInvalidPlace(t *testing.T) {
	t.Parallel()
	for _, place := range []int64{math.MaxInt64, math.MinInt64} {
		s := open(t, t.TempDir())
		edit(t, s, "UPDATE feed SET place = ?", place)
		at := keystoretest.CurrentPosition(t, s)
		put(t, s, "a", "1")
		at, noticed := follow(t, s, at, "a")
		require.True(t, noticed)
		put(t, s, "b", "1")
		_, noticed = follow(t, s, at, "b")
		require.True(t, noticed)
	}
}

// A gap in the feed is a lost feed for readers, and damage for Check. Repair makes a feed without gaps.
func TestGapInTheFeedIsALostFeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	at := keystoretest.CurrentPosition(t, s)
	for _, name := range []string{"a", "b", "c"} {
		put(t, s, name, "1")
	}
	found, err := Check(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	edit(t, s, "DELETE FROM feed WHERE name = ?", []byte("b"))
	_, _, err = s.Changes(t.Context(), at)
	require.ErrorIs(t, err, keystore.ErrFeedLost)
	found, err = Check(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, found.Damage, 1)
	require.Equal(t, 3, found.Read)
	_, err = Repair(t.Context(), dir)
	require.NoError(t, err)
	found, err = Check(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	require.Equal(t, 3, found.Read)
}
