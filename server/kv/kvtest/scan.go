package kvtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// scanAll scans to the end and returns the keys sorted and without repetitions.
func scanAll(t *testing.T, s kv.Store, prefix string, limit int) []string {
	t.Helper()
	var all []string
	for cursor, pages := "", 0; ; pages++ {
		require.Less(t, pages, 100_000, "the scan did not end")
		keys, next, err := s.Scan(t.Context(), prefix, cursor, limit)
		require.NoError(t, err)
		all = append(all, keys...)
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func fill(t *testing.T, s kv.Store, keys ...string) {
	t.Helper()
	entries := make([]kv.Entry, len(keys))
	for i, key := range keys {
		entries[i] = kv.Entry{Key: key, Value: []byte("v")}
	}
	require.NoError(t, kv.SetMany(t.Context(), s, entries))
}

func scanPages(t *testing.T, s kv.Store) {
	want := numbered("want/", 4321)
	fill(t, s, want...)
	fill(t, s, numbered("other/", 777)...)
	fill(t, s, "want", "wan", "want0", "xwant/")
	for _, limit := range []int{0, 10, 1000, 100_000} {
		require.Equal(t, want, scanAll(t, s, "want/", limit))
	}
	first, next, err := s.Scan(t.Context(), "want/", "", 100)
	require.NoError(t, err)
	require.NotEmpty(t, next, "one page of 100 keys contains all of them")
	require.Less(t, len(first), 2000)
}

// A prefix with characters of a glob pattern matches only keys that begin with exactly these characters.
func scanGlob(t *testing.T, s kv.Store) {
	prefixes := []string{"*", "?", "a*b", "a?b", "a[bc]", "a[^b]", "a[a-z]", `a\`, `a\*`, `a\\`, "a]", "[", `\`, "^a", "a\x00*", "\xff?"}
	for _, prefix := range prefixes {
		fill(t, s, prefix+"1", prefix+"2")
	}
	fill(t, s, "ab", "axb", "axxb", "ab1", "ac1", "az1", "x1", "11", "a*", "a\x00x1", "\xffx1")
	all := scanAll(t, s, "", 0)
	for _, prefix := range prefixes {
		var want []string
		for _, key := range all {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				want = append(want, key)
			}
		}
		require.Equal(t, want, scanAll(t, s, prefix, 3), "prefix %q", prefix)
	}
}

func scanEdges(t *testing.T, s kv.Store) {
	require.Empty(t, scanAll(t, s, "", 0))
	fill(t, s, "", "a", "\xff", "\xff\xff")
	require.Equal(t, []string{"", "a", "\xff", "\xff\xff"}, scanAll(t, s, "", 1))
	require.Equal(t, []string{"\xff", "\xff\xff"}, scanAll(t, s, "\xff", 1))
	require.Empty(t, scanAll(t, s, "b", 0))

	require.NoError(t, kv.Set(t.Context(), s, "short", nil, 50*time.Millisecond))
	require.NoError(t, kv.Set(t.Context(), s, "long", nil, time.Hour))
	time.Sleep(50*time.Millisecond + tolerance)
	require.Equal(t, []string{"long"}, scanAll(t, s, "long", 0))
	require.Empty(t, scanAll(t, s, "short", 0))

	_, _, err := s.Scan(t.Context(), "", "no cursor", 0)
	require.Error(t, err)
}

// No cursor, forged or from another scan, leads to keys that do not begin with the prefix.
func scanForged(t *testing.T, s kv.Store) {
	fill(t, s, append(append(numbered("a/", 20), numbered("b/", 20)...), numbered("c/", 20)...)...)
	cursors := []string{"k", "ka", "ka/", "kb", "kc/", "0", "0@@@0", "1@@@0"}
	for _, prefix := range []string{"", "a/", "c/"} {
		for cursor, first := "", true; first || cursor != ""; first = false {
			_, next, err := s.Scan(t.Context(), prefix, cursor, 5)
			require.NoError(t, err)
			if cursor = next; cursor != "" {
				cursors = append(cursors, cursor)
			}
		}
	}
	for _, cursor := range cursors {
		keys, _, err := s.Scan(t.Context(), "b/", cursor, 100)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCursor)
		}
		for _, key := range keys {
			require.True(t, strings.HasPrefix(key, "b/"), "cursor %q leads to %q", cursor, key)
		}
	}
}

// Keys that stay are listed although other keys are added and removed during the scan.
func scanChanging(t *testing.T, s kv.Store) {
	stay, gone := numbered("s", 2000), numbered("t", 2000)
	fill(t, s, stay...)
	fill(t, s, gone...)
	var all []string
	for cursor, page := "", 0; ; page++ {
		require.Less(t, page, 100_000, "the scan did not end")
		keys, next, err := s.Scan(t.Context(), "", cursor, 50)
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
	require.Subset(t, all, stay)
}

func firstKey(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}
