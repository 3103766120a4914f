//go:build unix

package durable_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
)

// A write on a full disk is retried with pieces of the reserve until it succeeds or the reserve is empty. Other errors
// release nothing.
func TestReserveIsReleasedInPieces(t *testing.T) {
	dir := t.TempDir()
	r := durable.NewReserve(dir, 0)
	full := func() error { return fmt.Errorf("write: %w", syscall.ENOSPC) }
	require.ErrorIs(t, r.RetryIfFull(full), syscall.ENOSPC)
	r.Refill()
	require.EqualValues(t, durable.ReserveSize, r.Size())
	require.ErrorIs(t, r.RetryIfFull(func() error { return syscall.EIO }), syscall.EIO)
	require.NoError(t, r.RetryIfFull(func() error { return nil }))
	require.EqualValues(t, durable.ReserveSize, r.Size())

	tries := 0
	require.NoError(t, r.RetryIfFull(func() error {
		if tries++; tries < 4 {
			return full()
		}
		return nil
	}))
	require.EqualValues(t, durable.ReserveSize-3*16<<10, r.Size())
	require.True(t, r.Release(1<<20))
	require.EqualValues(t, durable.ReserveSize-3*16<<10-1<<20, r.Size())
	require.ErrorIs(t, r.RetryIfFull(full), syscall.ENOSPC)
	require.Zero(t, r.Size())
	require.False(t, r.Release(1))
	r.Refill()
	var info syscall.Stat_t
	require.NoError(t, syscall.Stat(filepath.Join(dir, durable.ReserveName), &info))
	require.GreaterOrEqual(t, int64(info.Blocks)*512, int64(durable.ReserveSize), "the reserve must not be a sparse file")
}

// Refill does not follow a symlink with the name of the reserve, and creates no reserve on a disk with little free
// space.
func TestRefillRefusesSymlinkAndFullDisk(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, durable.ReserveName), filepath.Join(dir, "other")
	free, err := durable.FreeSpace(dir)
	require.NoError(t, err)
	durable.NewReserve(dir, 2*free).Refill()
	require.NoFileExists(t, path)
	require.NoError(t, os.WriteFile(other, []byte("content"), 0o600))
	require.NoError(t, os.Symlink(other, path))
	r := durable.NewReserve(dir, 0)
	r.Refill()
	require.False(t, r.Release(1))
	requireContent(t, other, "content")
}
