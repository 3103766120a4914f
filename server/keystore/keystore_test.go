package keystore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func TestDirectory(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		dir := filepath.Join(t.TempDir(), "made", "keys")
		return func(t testing.TB) keystore.Store { return openDirectory(t, dir) }
	})
}

func TestMemory(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) func(testing.TB) keystore.Store {
		s := keystoretest.NewMemory()
		return func(testing.TB) keystore.Store { return s }
	})
}

func openDirectory(t testing.TB, dir string) *keystore.Directory {
	s, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	return s
}

// A faulty store behaves like the store once all writes have arrived.
func TestFaulty(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			s := keystoretest.Faulty(openDirectory(t, t.TempDir()), keystoretest.At(1, fault))
			s.Pause = 0
			swapped, err := s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("one"), 0)
			fails := fault == keystoretest.FailBefore || fault == keystoretest.LoseReply || fault == keystoretest.Reorder
			require.Equal(t, fails, err != nil)
			require.Equal(t, !fails, swapped)
			there := func() bool {
				content, err := s.Get(t.Context(), keystore.Keysets, "x")
				require.NoError(t, err)
				return content != nil
			}
			require.Equal(t, fault != keystoretest.FailBefore && fault != keystoretest.Reorder, there())
			_, err = s.Swap(t.Context(), keystore.Keysets, "y", nil, []byte("two"), 0)
			require.NoError(t, err)
			require.Equal(t, fault != keystoretest.FailBefore, there())
			require.Equal(t, 2, s.Writes())
		})
	}
}

// Only the owner can read the directory, and damage is reported with the file's name.
func TestDirectoryAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := openDirectory(t, dir)
	for _, name := range []string{"x", "y"} {
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte("document"), 1)
		require.NoError(t, err)
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
	path := s.Where(keystore.Keysets, "x")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	another, err := os.ReadFile(s.Where(keystore.Keysets, "y"))
	require.NoError(t, err)
	damaged := map[string][]byte{"empty": {}, "cut": whole[:len(whole)-1], "longer": append(whole[:len(whole):len(whole)], 0), "of another document": another}
	for i := range whole {
		altered := append([]byte{}, whole...)
		altered[i] ^= 1
		damaged["altered "+string(rune('a'+i))] = altered
	}
	for name, content := range damaged {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, content, 0o600))
			_, err = s.Get(t.Context(), keystore.Keysets, "x")
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.ErrorContains(t, err, path)
			_, err = s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("new"), 0)
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			names, err := s.Due(t.Context(), keystore.Keysets, 1, 10)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"x", "y"}, names, "a damaged document is due, so that somebody reports it")
			readable, damaged := 0, 0
			for document, err := range keystore.All(t.Context(), s, keystore.Keysets) {
				if err == nil {
					require.Equal(t, "y", document.Name)
					readable++
					continue
				}
				require.ErrorContains(t, err, path)
				damaged++
			}
			require.Equal(t, []int{1, 1}, []int{readable, damaged}, "it does not hide others")
		})
	}
}

// A page reads its own documents only; a damaged one beside them does not matter.
func TestPageReadsNoMore(t *testing.T) {
	s := openDirectory(t, t.TempDir())
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		_, err := s.Swap(t.Context(), keystore.Keysets, name, nil, []byte(name), 0)
		require.NoError(t, err)
	}
	first, next, err := s.Page(t.Context(), keystore.Keysets, "", 3)
	require.NoError(t, err)
	require.Len(t, first, 3)
	second, _, err := s.Page(t.Context(), keystore.Keysets, next, 3)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.Where(keystore.Keysets, first[2].Name), nil, 0o600))
	again, _, err := s.Page(t.Context(), keystore.Keysets, next, 3)
	require.NoError(t, err)
	require.Equal(t, second, again)
}
