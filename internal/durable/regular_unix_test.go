//go:build !windows

package durable_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
)

// OpenRegular opens a regular file as os.OpenFile does, and refuses all others without blocking.
func TestOpenRegularRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	fifo := path + ".fifo"
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR} {
		for _, irregular := range []string{fifo, "/dev/null"} {
			_, err := durable.OpenRegular(irregular, flag)
			require.ErrorIs(t, err, durable.ErrIrregular, irregular)
		}
		_, err := durable.OpenRegular(path+".missing", flag)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	_, err := durable.OpenRegular(filepath.Dir(path), os.O_RDONLY)
	require.ErrorIs(t, err, durable.ErrIrregular)

	require.NoError(t, durable.Create(path, []byte("first,")))
	f, err := durable.OpenRegular(path, os.O_WRONLY|os.O_APPEND)
	require.NoError(t, err)
	_, err = f.WriteString("second")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	requireContent(t, path, "first,second")
}
