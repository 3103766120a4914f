//go:build unix

package audit

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// startUnkept starts a log whose keeper the test runs itself.
func startUnkept(t *testing.T) (*File, string) {
	f, path := newFaulty(t, &faults{}, Options{})
	go f.write()
	t.Cleanup(func() {
		go f.keeper.run()
		require.NoError(t, f.Close())
	})
	require.NoError(t, f.Record(t.Context(), opened, Event{Action: KeyDestroy})) // a line in each chain
	require.NoError(t, f.keeper.note())
	return f, path
}

// altered counts the lines of the second chain that record an alteration.
func altered(t *testing.T, dir string) int {
	files, err := listFiles(dir, 2, 0)
	require.NoError(t, err)
	found := 0
	for _, f := range files {
		content, err := os.ReadFile(f.path)
		require.NoError(t, err)
		found += strings.Count(string(content), `"action":"audit.altered"`)
	}
	return found
}

// A head that cannot be written again is one alteration, not one for each attempt.
func TestLostHeadIsRecordedOnce(t *testing.T) {
	f, path := startUnkept(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Remove(head))
	require.NoError(t, os.MkdirAll(filepath.Join(head, "in the way"), 0o700))
	for range 3 {
		require.Error(t, f.keeper.note())
	}
	require.NoError(t, os.RemoveAll(head))
	require.NoError(t, f.keeper.note())
	require.Equal(t, 1, altered(t, path))
	_, err := ReadHeads(path, testKey)
	require.NoError(t, err)
	require.NoError(t, os.Remove(head))
	require.NoError(t, f.keeper.note())
	require.Equal(t, 2, altered(t, path), "lost again")
}

// Lines that went with the head are found with it, and not reported again after the head is written.
func TestLostDirectoryIsReportedOnce(t *testing.T) {
	f, path := startUnkept(t)
	reports := 0
	f.options.OnAltered = func() { reports++ }
	require.NoError(t, os.RemoveAll(path))
	for range 2 {
		require.NoError(t, f.keeper.note())
	}
	require.NoError(t, f.Record(t.Context(), opened, Event{Action: KeyDestroy}))
	require.Equal(t, 1, reports)
}

// A head that cannot be read because file descriptors ran out was not altered.
func TestNoDescriptorsIsNoAlteration(t *testing.T) {
	f, path := startUnkept(t)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	err := f.keeper.note()
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.ErrorIs(t, err, syscall.EMFILE)
	require.NoError(t, f.keeper.note())
	require.Zero(t, altered(t, path))
}

// A head that cannot be read because the disk fails was not altered, but the log is not ready.
func TestFailingDiskIsNoAlteration(t *testing.T) {
	f, path := startUnkept(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Rename(head, head+".aside"))
	require.NoError(t, os.Symlink("/proc/self/mem", head)) // a read is EIO
	f.keeper.tryNote()
	require.ErrorIs(t, f.Ready(t.Context()), ErrUnavailable)
	require.NoError(t, os.Rename(head+".aside", head))
	f.keeper.tryNote()
	require.NoError(t, f.Ready(t.Context()))
	require.Zero(t, altered(t, path))
}

// If something that cannot be opened stands in the place of the head, the head was taken away, and is written again.
func TestHeadOfAnotherKind(t *testing.T) {
	f, path := startUnkept(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Remove(head))
	require.NoError(t, os.Symlink(filepath.Base(head), head)) // to itself
	require.NoError(t, f.keeper.note())
	require.Equal(t, 1, altered(t, path))
	_, err := ReadHeads(path, testKey)
	require.NoError(t, err)
}

// The entries of a page hold their own bytes, not the blocks of the files that they were read from.
func TestPageHoldsItsLinesAlone(t *testing.T) {
	f, path := startUnkept(t)
	for range 100 {
		require.NoError(t, f.Record(t.Context(), opened))
	}
	p, err := NewReader(path, testKey).Page(t.Context(), Query{Limit: 10})
	require.NoError(t, err)
	require.Len(t, p.Entries, 10)
	for _, e := range p.Entries {
		require.LessOrEqual(t, cap(e), 2*len(e))
	}
}
