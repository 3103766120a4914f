package sqlitekeys

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, content, 0o600))
}

// A process notices at its next call that its file was removed or replaced by an earlier state. The feed does not
// have its position, and its writes go to the file at the path.
func TestReplacedFileIsUsedAtTheNextCall(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(t *testing.T, path, earlier string){
		"removed":   func(t *testing.T, path, _ string) { require.NoError(t, os.Remove(path)) },
		"renamed":   func(t *testing.T, path, earlier string) { require.NoError(t, os.Rename(earlier, path)) },
		"written":   func(t *testing.T, path, earlier string) { copyFile(t, earlier, path) },
		"truncated": func(t *testing.T, path, _ string) { require.NoError(t, os.Truncate(path, 0)) },
	} {
		for _, first := range []string{"get", "changes", "swap"} {
			t.Run(name+", then "+first, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path, earlier := filepath.Join(dir, fileName), filepath.Join(dir, "earlier")
				s := open(t, dir)
				put(t, s, "x", "one")
				copyFile(t, path, earlier)
				put(t, s, "x", "two")
				put(t, s, "y", "two")
				position := keystoretest.CurrentPosition(t, s)
				replace(t, path, earlier)
				want := "one"
				if name == "removed" || name == "truncated" {
					want = ""
				}
				if name == "truncated" { // the connection finds no tables, and the next one makes them
					_, err := s.Get(t.Context(), keystore.Keysets, "x")
					require.ErrorIs(t, err, keystore.ErrUnavailable)
				}
				switch first {
				case "get":
					requireContent(t, s, "x", want)
				case "changes":
					_, _, err := s.Changes(t.Context(), position)
					require.ErrorIs(t, err, keystore.ErrFeedLost)
				case "swap":
					swapped, err := s.Swap(t.Context(), keystore.Keysets, "x", []byte("two"), []byte("three"), 0)
					require.NoError(t, err)
					require.False(t, swapped)
				}
				for i := range 5 { // the feed grows beyond the position again
					put(t, s, fmt.Sprint(i), "three")
					_, _, err := s.Changes(t.Context(), position)
					require.ErrorIs(t, err, keystore.ErrFeedLost)
				}
				requireContent(t, open(t, dir), "4", "three")
				requireContent(t, open(t, dir), "x", want)
			})
		}
	}
}

// Cached pages are not used for a copy of the file that has the same change counter.
func TestCopyWithTheSameChangeCounter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, earlier := filepath.Join(dir, fileName), filepath.Join(dir, "earlier")
	s, other := open(t, dir), open(t, dir)
	put(t, s, "x", "one")
	copyFile(t, path, earlier)
	put(t, s, "x", "two")
	requireContent(t, s, "x", "two")
	copyFile(t, earlier, path)
	put(t, other, "y", "one")
	requireContent(t, s, "x", "one")
}

// If the directory was moved away, a process does not create another one: an operator may be about to restore it.
func TestMissingDirectoryIsNotCreated(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, dir)
	put(t, s, "x", "one")
	position := keystoretest.CurrentPosition(t, s)
	require.NoError(t, os.Rename(dir, dir+".old"))
	for range 2 {
		_, err := s.Get(t.Context(), keystore.Keysets, "x")
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		_, err = s.Swap(t.Context(), keystore.Keysets, "y", nil, []byte("one"), 0)
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		_, _, err = s.Changes(t.Context(), position)
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.NotErrorIs(t, err, keystore.ErrFeedLost)
	}
	require.NoDirExists(t, dir)
	require.NoError(t, os.Rename(dir+".old", dir))
	requireContent(t, s, "x", "one")
	changes, _ := keystoretest.ReadChanges(t, s, position)
	require.Empty(t, changes)
}
