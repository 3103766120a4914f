package kv_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

var owners = []string{"a", "a/b", "a/", "/a", "", "a%2Fb", "{a}", "a}{b", "a*", "a?", "[a]", "é", "e\u0301", "a b", "..", ".", "a\x00"}

func TestSplitKeyReversesPrefix(t *testing.T) {
	t.Parallel()
	names := []string{"k", "", "/", "a/b", "{slot}", "}{", "*", "?[a]", "%2F", "\xff\x00", "coffer/a/cache/k"}
	seen := map[string]bool{}
	for _, owner := range owners {
		for _, collection := range []string{"cache", "session"} {
			for _, name := range names {
				key := kv.Prefix(owner, collection) + name
				require.False(t, seen[key], "two places have the key %q", key)
				seen[key] = true
				o, c, n, ok := kv.SplitKey(key)
				require.True(t, ok, key)
				require.Equal(t, []string{owner, collection, name}, []string{o, c, n})
			}
		}
	}
}

// A listing or deletion of one owner's entries must not touch the entries of another owner.
func TestOwnerPrefixesAreDisjoint(t *testing.T) {
	t.Parallel()
	for _, a := range owners {
		require.NotContains(t, strings.TrimSuffix(strings.TrimPrefix(kv.OwnerPrefix(a), kv.TenantPrefix), "/"), "{", "an owner is no hash tag")
		for _, b := range owners {
			require.Equal(t, a == b, strings.HasPrefix(kv.OwnerPrefix(a), kv.OwnerPrefix(b)), "%q and %q", a, b)
		}
	}
}

func TestSplitKeyRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "coffer", "coffer/", "coffer/a", "coffer/a/", "coffer/a/cache", "other/a/cache/k", "coffer/%zz/cache/k", "coffer/%61/cache/k", "{coffer-keys}/a/b/c"} {
		_, _, _, ok := kv.SplitKey(key)
		require.False(t, ok, key)
	}
}
