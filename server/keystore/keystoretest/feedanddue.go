package keystoretest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
)

// ReadChanges reads the feed from a position to its end.
func ReadChanges(t testing.TB, s keystore.Store, since keystore.Position) (all []keystore.Change, next keystore.Position) {
	t.Helper()
	for {
		changes, next, err := s.Changes(t.Context(), since)
		require.NoError(t, err)
		if len(changes) == 0 {
			return all, next
		}
		all, since = append(all, changes...), next
	}
}

// CurrentPosition returns the current position of the feed.
func CurrentPosition(t testing.TB, s keystore.Store) keystore.Position {
	t.Helper()
	changes, position, err := s.Changes(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, changes)
	require.NotEmpty(t, position)
	return position
}

// Every reader sees every change after its position, and sees it again if it asks again.
func changes(t *testing.T, open func(testing.TB) keystore.Store) {
	a, b := open(t), open(t)
	first := CurrentPosition(t, b)
	none, same := ReadChanges(t, b, first)
	require.Empty(t, none)
	require.Equal(t, first, same)
	require.True(t, swaps(t, a, "x", nil, []byte("one")))
	require.True(t, swaps(t, a, "a b\n\x00é", nil, []byte("two")))
	second := CurrentPosition(t, a)
	_, err := a.Swap(t.Context(), keystore.Sweeps, "", nil, []byte("lease"), 0)
	require.NoError(t, err)
	require.True(t, swaps(t, a, "x", []byte("one"), nil))
	require.False(t, swaps(t, a, "x", []byte("one"), []byte("two")))

	later := []keystore.Change{{Kind: keystore.Sweeps, Name: ""}, {Kind: keystore.Keysets, Name: "x"}}
	all := append([]keystore.Change{{Kind: keystore.Keysets, Name: "x"}, {Kind: keystore.Keysets, Name: "a b\n\x00é"}}, later...)
	for range 2 {
		found, next := ReadChanges(t, b, first)
		require.Equal(t, all, found)
		none, same := ReadChanges(t, a, next)
		require.Empty(t, none)
		require.Equal(t, next, same)
	}
	found, _ := ReadChanges(t, b, second)
	require.Equal(t, later, found)
}

// A reader that is behind sees all changes.
func manyChanges(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	begin, want := CurrentPosition(t, s), []keystore.Change{}
	for i := range 50 {
		name := fmt.Sprint(i)
		require.True(t, swaps(t, s, name, nil, []byte("document")))
		want = append(want, keystore.Change{Kind: keystore.Keysets, Name: name})
	}
	found, _ := ReadChanges(t, s, begin)
	require.Equal(t, want, found)
}

func dueNames(t testing.TB, s keystore.Store, until int64, limit int) []string {
	t.Helper()
	names, err := s.Due(t.Context(), keystore.Keysets, until, limit)
	require.NoError(t, err)
	return names
}

func setDue(t testing.TB, s keystore.Store, name string, old, document []byte, due int64) {
	t.Helper()
	swapped, err := s.Swap(t.Context(), keystore.Keysets, name, old, document, due)
	require.NoError(t, err)
	require.True(t, swapped)
}

// Documents are due from their time on, the earliest first, in their kind only.
func due(t *testing.T, open func(testing.TB) keystore.Store) {
	s, document := open(t), []byte("document")
	const now = int64(1_764_364_000_000)
	times := []int64{now + 5, now - 7_200_000, now, now + 3_600_000, 1, now + 1<<42, now - 1, 0}
	for i, at := range times {
		setDue(t, s, fmt.Sprintf("%d/é\n", i), nil, document, at)
	}
	_, err := s.Swap(t.Context(), keystore.Sweeps, "lease", nil, document, now)
	require.NoError(t, err)
	ordered := []string{"4/é\n", "1/é\n", "6/é\n", "2/é\n", "0/é\n", "3/é\n", "5/é\n"}
	for _, c := range []struct {
		name  string
		until int64
		limit int
		want  int
	}{
		{"nothing", 0, 10, 0}, {"the first", 1, 10, 1}, {"up to now", now, 10, 4}, {"within the hour", now + 5, 10, 5},
		{"limited", now, 3, 3}, {"all", now + 1<<43, 10, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, ordered[:c.want], append([]string{}, dueNames(t, open(t), c.until, c.limit)...))
		})
	}
	names, err := s.Due(t.Context(), keystore.Sweeps, now, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"lease"}, names)
	names, err = s.Due(t.Context(), keystore.Servers, now, 10)
	require.NoError(t, err)
	require.Empty(t, names)
}

// Every change of a document replaces its due time; a removed document is never due.
func dueAndSwap(t *testing.T, open func(testing.TB) keystore.Store) {
	s, one, two := open(t), []byte("one"), []byte("two")
	setDue(t, s, "x", nil, one, 1000)
	setDue(t, s, "y", nil, one, 2000)
	require.Equal(t, "x y", strings.Join(dueNames(t, s, 5000, 10), " "))
	setDue(t, s, "x", one, two, 3_600_000*30)
	require.Equal(t, "y", strings.Join(dueNames(t, s, 5000, 10), " "))
	setDue(t, s, "x", two, two, 3000)
	require.Equal(t, "y x", strings.Join(dueNames(t, s, 5000, 10), " "))
	setDue(t, s, "y", one, two, 0)
	require.Equal(t, "x", strings.Join(dueNames(t, s, 5000, 10), " "))
	setDue(t, s, "x", two, nil, 1000)
	require.Empty(t, dueNames(t, s, 5000, 10))
	setDue(t, s, "z", nil, one, 4000)
	swapped, err := s.Swap(t.Context(), keystore.Keysets, "z", two, []byte("three"), 1)
	require.NoError(t, err)
	require.False(t, swapped)
	require.Equal(t, []string{"z"}, slices.Clone(dueNames(t, s, 5000, 10)))
	require.Empty(t, dueNames(t, s, 3999, 10))
}
