package keystore_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv"
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

// reads counts the documents that are read.
type reads struct {
	kv.Store
	n int
}

func (r *reads) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	r.n += len(keys)
	return r.Store.GetMany(ctx, keys)
}

// scans counts how often keys are listed from the beginning.
type scans struct {
	kv.Store
	n int
}

func (s *scans) Scan(ctx context.Context, prefix, cursor string, limit int) ([]string, string, error) {
	if cursor == "" {
		s.n++
	}
	return s.Store.Scan(ctx, prefix, cursor, limit)
}

// Names are listed once for all pages, for as long as nothing changes; what comes meanwhile, by whomever, is there.
func TestNamesAreListedOnce(t *testing.T) {
	embedded, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	counted := &scans{Store: embedded}
	s := keystore.OverKV(counted)
	put := func(name string) {
		t.Helper()
		_, err := keystore.OverKV(embedded).Swap(t.Context(), keystore.Keysets, name, nil, []byte(name))
		require.NoError(t, err)
	}
	list := func() (n int) {
		t.Helper()
		for after := ""; ; {
			documents, next, err := s.Page(t.Context(), keystore.Keysets, after, 10)
			require.NoError(t, err)
			if n, after = n+len(documents), next; next == "" {
				return n
			}
		}
	}
	for i := range 50 {
		put(fmt.Sprint("name ", i))
	}
	require.Equal(t, 50, list())
	require.Equal(t, 1, counted.n)
	require.Equal(t, 50, list())
	require.Equal(t, 1, counted.n)
	put("another")
	require.Equal(t, 51, list())
	require.Equal(t, 2, counted.n)
}

// A page reads its own documents only: what lies beside them may even be damaged.
func TestPageReadsNoMore(t *testing.T) {
	embedded, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	counted := &reads{Store: embedded}
	dir := openDirectory(t, t.TempDir())
	for name, s := range map[string]keystore.Store{"kv": keystore.OverKV(counted), "directory": dir} {
		for i := range 50 {
			_, err := s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), nil, fmt.Append(nil, i))
			require.NoError(t, err)
		}
		documents, next, err := s.Page(t.Context(), keystore.Keysets, "", 10)
		require.NoError(t, err)
		require.Len(t, documents, 10)
		if name == "directory" {
			files, err := os.ReadDir(filepath.Dir(dir.Where(keystore.Keysets, "0")))
			require.NoError(t, err)
			for _, i := range []int{9, 20} { // the last of the first page, and the first of the third
				require.NoError(t, os.Truncate(filepath.Join(filepath.Dir(dir.Where(keystore.Keysets, "0")), files[i].Name()), 0))
			}
		}
		documents, next, err = s.Page(t.Context(), keystore.Keysets, next, 10)
		require.NoError(t, err)
		require.Len(t, documents, 10)
		require.NotEmpty(t, next)
	}
	require.Equal(t, 20, counted.n)
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
