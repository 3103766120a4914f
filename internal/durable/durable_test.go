package durable_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
)

func TestReplaceAndCreateWriteWholeFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, durable.Create(path, []byte("first")))
	require.ErrorIs(t, durable.Create(path, []byte("second")), fs.ErrExist)
	requireContent(t, path, "first")
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, durable.Replace(path, []byte("third")))
	requireContent(t, path, "third")

	after, err := os.Stat(path)
	require.NoError(t, err)
	require.False(t, durable.Unchanged(before, after))
	require.True(t, durable.Unchanged(after, after))
	require.Equal(t, fs.FileMode(0o600), after.Mode())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file is left")

	require.NoError(t, durable.Rename(path, path+".old"))
	requireContent(t, path+".old", "third")
	require.ErrorIs(t, durable.Rename(path, path+".old"), fs.ErrNotExist)
	require.ErrorIs(t, durable.Replace(filepath.Join(dir, "missing", "file"), nil), fs.ErrNotExist)
	_, err = durable.Lock(filepath.Join(dir, "missing", "lock"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(content))
}

// Goroutines that increment a counter under the lock lose no increment.
func TestLockLosesNoChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "count")
	require.NoError(t, durable.Create(path, []byte("0")))
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			unlock, err := durable.Lock(filepath.Join(dir, "lock"))
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			n, err := strconv.Atoi(string(content))
			if err != nil {
				t.Error(err)
				return
			}
			if err := durable.Replace(path, fmt.Append(nil, n+1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	requireContent(t, path, "40")
}

func TestTryLockDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, locked, err := durable.TryLock(path)
	require.NoError(t, err)
	require.True(t, locked)
	_, locked, err = durable.TryLock(path)
	require.NoError(t, err)
	require.False(t, locked)
	unlock()
	unlock, locked, err = durable.TryLock(path)
	require.NoError(t, err)
	require.True(t, locked)
	unlock()
}
