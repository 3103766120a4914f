package keystore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
)

func TestDirectory(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		dir := filepath.Join(t.TempDir(), "made", "keys")
		return func(t testing.TB) keystore.Store { return openDirectory(t, dir) }
	})
}

func openDirectory(t testing.TB, dir string) *keystore.Directory {
	s, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	return s
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		client := server.Client(t)
		require.NoError(t, client.FlushAll(t.Context()).Err())
		return func(testing.TB) keystore.Store { return keystore.OverKV(rediskv.New(client)) }
	})
	server.Stop()
	store, err := rediskv.Open("redis://" + server.Addr)
	require.NoError(t, err)
	defer store.Close()
	_, err = keystore.OverKV(store).Get(t.Context(), keystore.Keysets, "x")
	require.ErrorIs(t, err, keystore.ErrUnavailable)
}

func TestEmbedded(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		store, err := badgerkv.Open(t.TempDir(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return func(testing.TB) keystore.Store { return keystore.OverKV(store) }
	})
}

// What lies in a directory is for its owner's eyes, and what a killed writer left is swept away.
func TestDirectoryAtRest(t *testing.T) {
	dir := t.TempDir()
	s := openDirectory(t, filepath.Join(dir, "keys"))
	_, err := s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("document"))
	require.NoError(t, err)
	left := filepath.Join(dir, "keys", "keyset", ".writing-1")
	require.NoError(t, os.WriteFile(left, []byte("docu"), 0o600))
	s = openDirectory(t, filepath.Join(dir, "keys"))
	require.NoFileExists(t, left)
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "keys"), func(path string, entry fs.DirEntry, _ error) error {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
	require.NoError(t, os.WriteFile(s.Where(keystore.Keysets, "x"), nil, 0o600))
	_, err = s.Get(t.Context(), keystore.Keysets, "x")
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, s.Where(keystore.Keysets, "x"))
	for _, err = range s.All(t.Context(), keystore.Keysets) {
		require.ErrorIs(t, err, keystore.ErrUnavailable)
	}
}
