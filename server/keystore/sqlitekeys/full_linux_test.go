package sqlitekeys

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func TestFullAndReadOnlyDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDisk", t.TempDir())
}

// init registers the role on systems where file systems can be mounted.
func init() { roles["fillsDisk"] = fillDisk }

// On a full disk, Swap fails and changes nothing, and everything can be read. On a read-only disk, the file does not
// open. Afterwards the store works and has all documents.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "2m")
	dir := filepath.Join(root, "keys")
	s := open(t, dir)
	document := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, 2000) }
	written, refused := 0, 0
	var position keystore.Position
	swap := func(old []byte, i int) error {
		swapped, err := s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), old, document(i), int64(i+1))
		require.Equal(t, err == nil, swapped)
		return err
	}
	requireAll := func() {
		t.Helper()
		for i := range written {
			requireContent(t, s, fmt.Sprint(i), string(document(i)))
		}
		names, err := s.Due(t.Context(), keystore.Keysets, 1<<40, 10_000)
		require.NoError(t, err)
		require.Len(t, names, written)
		changes, _ := keystoretest.ReadChanges(t, s, position)
		require.Empty(t, changes)
	}
	for ; refused < 20; written++ {
		require.Less(t, written, 10_000, "the disk does not fill")
		position = keystoretest.CurrentPosition(t, s)
		err := swap(nil, written)
		for err != nil && refused < 20 {
			require.ErrorIs(t, err, keystore.ErrFull)
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.ErrorContains(t, err, dir)
			refused++
			requireAll()
			err = swap(nil, written)
		}
		if err != nil {
			break
		}
	}
	require.Greater(t, written, 50)
	require.NoError(t, s.Close())
	requireAll()
	require.Error(t, swap(nil, written))
	require.NoError(t, syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=8m"))
	require.NoError(t, swap(nil, written))
	written++
	position = keystoretest.CurrentPosition(t, s)

	require.NoError(t, s.Close())
	require.NoError(t, syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	require.ErrorIs(t, swap(nil, written), keystore.ErrUnavailable)
	require.NotErrorIs(t, swap(nil, written), keystore.ErrFull)
	require.ErrorContains(t, swap(nil, written), "read-only")
	require.NoError(t, syscall.Mount("", root, "", syscall.MS_REMOUNT, ""))
	requireAll()
	require.NoError(t, swap(nil, written))
}
