package kvtest

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// RunSweeper checks that stores fulfill the contract of kv.Sweeper. open is as in Run, and its stores must be Sweepers.
func RunSweeper(t *testing.T, open func(t *testing.T) kv.Store) {
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s kv.Store, sweeper kv.Sweeper)
	}{
		{"every key is in one part", sweepFindsEveryKey},
		{"a topology stays the same", sameTopology},
		{"a sweep resumes with its cursor", resumedSweep},
		{"keys that are added and removed", sweepChanging},
		{"prefixes are literal", sweepPrefixes},
		{"unknown parts and cursors", unknownPartsAndCursors},
		{"cancelled and closed", cancelledAndClosedSweeps},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t)
			sweeper, ok := s.(kv.Sweeper)
			require.True(t, ok)
			tc.run(t, s, sweeper)
		})
	}
}

// topology returns the topology of the store, which must be stable.
func topology(t *testing.T, sweeper kv.Sweeper) kv.Topology {
	t.Helper()
	top, err := sweeper.Topology(t.Context())
	require.NoError(t, err)
	require.True(t, top.Stable, top.Reason)
	require.Empty(t, top.Reason)
	require.NotEmpty(t, top.ID)
	require.NotEmpty(t, top.Parts)
	return top
}

// sweepPart scans a part to its end and returns the keys sorted and without repetitions.
func sweepPart(t *testing.T, sweeper kv.Sweeper, part, prefix string, limit int) []string {
	t.Helper()
	var all []string
	for cursor, pages := "", 0; ; pages++ {
		require.Less(t, pages, 100_000, "the sweep did not end")
		keys, next, err := sweeper.SweepPage(t.Context(), part, prefix, cursor, limit)
		require.NoError(t, err)
		all = append(all, keys...)
		if cursor = next; cursor == "" {
			slices.Sort(all)
			return slices.Compact(all)
		}
	}
}

func sweepAll(t *testing.T, sweeper kv.Sweeper, prefix string, limit int) []string {
	t.Helper()
	var all []string
	for _, part := range topology(t, sweeper).Parts {
		all = append(all, sweepPart(t, sweeper, part, prefix, limit)...)
	}
	slices.Sort(all)
	return all // a key that is in two parts is in the list twice
}

func sweepFindsEveryKey(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	require.Empty(t, sweepAll(t, sweeper, "", 0))
	want := numbered("want/", 4321)
	fill(t, s, want...)
	fill(t, s, numbered("other/", 777)...)
	for _, limit := range []int{0, 10, 100_000} {
		require.Equal(t, want, sweepAll(t, sweeper, "want/", limit))
	}
	require.Len(t, sweepAll(t, sweeper, "", 0), 4321+777)
	part := topology(t, sweeper).Parts[0]
	keys, next, err := sweeper.SweepPage(t.Context(), part, "want/", "", 100)
	require.NoError(t, err)
	require.NotEmpty(t, next, "one page of 100 keys contains all of them")
	require.Less(t, len(keys), 2000)
}

func sameTopology(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	first := topology(t, sweeper)
	fill(t, s, numbered("n", 1000)...)
	require.Equal(t, first, topology(t, sweeper))
}

// A sweep can be resumed after every page with nothing but the cursor.
func resumedSweep(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	want := numbered("n", 500)
	fill(t, s, want...)
	var all []string
	for _, part := range topology(t, sweeper).Parts {
		for cursor, page := "", 0; ; page++ {
			require.Less(t, page, 100_000, "the sweep did not end")
			again, _, err := sweeper.SweepPage(t.Context(), part, "n", cursor, 20)
			require.NoError(t, err)
			keys, next, err := sweeper.SweepPage(t.Context(), part, "n", string([]byte(cursor)), 20)
			require.NoError(t, err)
			require.Equal(t, again, keys, "one cursor must always return the same page")
			all = append(all, keys...)
			if cursor = next; cursor == "" {
				break
			}
		}
	}
	slices.Sort(all)
	require.Equal(t, want, slices.Compact(all))
}

// Keys that stay are listed although other keys are added and removed during the sweep.
func sweepChanging(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	stay, gone := numbered("s", 2000), numbered("t", 2000)
	fill(t, s, stay...)
	fill(t, s, gone...)
	var all []string
	for _, part := range topology(t, sweeper).Parts {
		for cursor, page := "", 0; ; page++ {
			require.Less(t, page, 100_000, "the sweep did not end")
			keys, next, err := sweeper.SweepPage(t.Context(), part, "", cursor, 50)
			require.NoError(t, err)
			all = append(all, keys...)
			if cursor = next; cursor == "" {
				break
			}
			if page < len(gone)/100 {
				_, err = kv.DeleteMany(t.Context(), s, gone[page*100:page*100+100])
				require.NoError(t, err)
				fill(t, s, numbered("u"+firstKey(keys), 20)...)
			}
		}
	}
	require.Subset(t, all, stay)
}

func sweepPrefixes(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	fill(t, s, "a*b1", "axb1", "a[bc]1", "ab1", "{x}1", "{y}1", "\xff1", "")
	for prefix, want := range map[string][]string{"a*b": {"a*b1"}, "a[bc]": {"a[bc]1"}, "{x}": {"{x}1"}, "\xff": {"\xff1"}, "none": nil} {
		require.Equal(t, want, sweepAll(t, sweeper, prefix, 3), "prefix %q", prefix)
	}
	require.Len(t, sweepAll(t, sweeper, "", 3), 8)
}

func unknownPartsAndCursors(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	fill(t, s, numbered("n", 1000)...)
	top := topology(t, sweeper)
	for _, part := range []string{"", "no part", top.Parts[0] + "x"} {
		_, _, err := sweeper.SweepPage(t.Context(), part, "", "", 10)
		require.ErrorIs(t, err, kv.ErrCursor, "part %q", part)
	}
	_, _, err := sweeper.SweepPage(t.Context(), top.Parts[0], "", "no cursor", 10)
	require.ErrorIs(t, err, kv.ErrCursor)
}

func cancelledAndClosedSweeps(t *testing.T, s kv.Store, sweeper kv.Sweeper) {
	part := topology(t, sweeper).Parts[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := sweeper.Topology(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = sweeper.SweepPage(ctx, part, "", "", 0)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Close())
	_, err = sweeper.Topology(t.Context())
	require.ErrorIs(t, err, kv.ErrClosed)
	_, _, err = sweeper.SweepPage(t.Context(), part, "", "", 0)
	require.ErrorIs(t, err, kv.ErrClosed)
}
