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

// startWithoutKeeper opens a log without the goroutine of its head keeper. The test calls the head keeper's methods.
func startWithoutKeeper(t *testing.T) (*File, string) {
	f, path := newFaultyLog(t, &diskFaults{}, Options{})
	go f.runWriter()
	t.Cleanup(func() {
		go f.keeper.run()
		require.NoError(t, f.Close())
	})
	require.NoError(t, f.Record(t.Context(), openEvent, Event{Action: KeyDestroy})) // one line in each chain
	require.NoError(t, f.keeper.updateHead())
	return f, path
}

// countAlterations counts the lines of the second chain that record an alteration.
func countAlterations(t *testing.T, dir string) int {
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

// A head that cannot be rewritten is recorded as one alteration, not once for each attempt.
func TestLostHeadIsRecordedOnce(t *testing.T) {
	f, path := startWithoutKeeper(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Remove(head))
	require.NoError(t, os.MkdirAll(filepath.Join(head, "in the way"), 0o700))
	for range 3 {
		require.Error(t, f.keeper.updateHead())
	}
	require.NoError(t, os.RemoveAll(head))
	require.NoError(t, f.keeper.updateHead())
	require.Equal(t, 1, countAlterations(t, path))
	_, err := ReadHeads(path, testKey)
	require.NoError(t, err)
	require.NoError(t, os.Remove(head))
	require.NoError(t, f.keeper.updateHead())
	require.Equal(t, 2, countAlterations(t, path), "a second loss is another alteration")
}

// Lines that are missing together with the head are not reported again after the head was rewritten.
func TestLostDirectoryIsReportedOnce(t *testing.T) {
	f, path := startWithoutKeeper(t)
	reports := 0
	f.options.OnAltered = func() { reports++ }
	require.NoError(t, os.RemoveAll(path))
	for range 2 {
		require.NoError(t, f.keeper.updateHead())
	}
	require.NoError(t, f.Record(t.Context(), openEvent, Event{Action: KeyDestroy}))
	require.Equal(t, 1, reports)
}

// A head that cannot be read because file descriptors ran out was not altered.
func TestExhaustedDescriptorsAreNoAlteration(t *testing.T) {
	f, path := startWithoutKeeper(t)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	err := f.keeper.updateHead()
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.ErrorIs(t, err, syscall.EMFILE)
	require.NoError(t, f.keeper.updateHead())
	require.Zero(t, countAlterations(t, path))
}

// A head that cannot be read because the disk fails was not altered, but the log is not ready.
func TestFailingDiskIsNoAlteration(t *testing.T) {
	f, path := startWithoutKeeper(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Rename(head, head+".aside"))
	require.NoError(t, os.Symlink("/proc/self/mem", head)) // reading it fails with EIO
	f.keeper.updateHeadAndLog()
	require.ErrorIs(t, f.Ready(t.Context()), ErrUnavailable)
	require.NoError(t, os.Rename(head+".aside", head))
	f.keeper.updateHeadAndLog()
	require.NoError(t, f.Ready(t.Context()))
	require.Zero(t, countAlterations(t, path))
}

// A head that was replaced by something that cannot be opened counts as missing, and is rewritten.
func TestHeadReplacedBySymlinkIsRecorded(t *testing.T) {
	f, path := startWithoutKeeper(t)
	head := filepath.Join(path, "1", "head")
	require.NoError(t, os.Remove(head))
	require.NoError(t, os.Symlink(filepath.Base(head), head)) // a link to itself
	require.NoError(t, f.keeper.updateHead())
	require.Equal(t, 1, countAlterations(t, path))
	_, err := ReadHeads(path, testKey)
	require.NoError(t, err)
}

// An entry of a page must not keep the block of the file that it was read from in memory.
func TestPageKeepsNoFileBlocks(t *testing.T) {
	f, path := startWithoutKeeper(t)
	for range 100 {
		require.NoError(t, f.Record(t.Context(), openEvent))
	}
	p, err := NewReader(path, testKey).Page(t.Context(), Query{Limit: 10})
	require.NoError(t, err)
	require.Len(t, p.Entries, 10)
	for _, e := range p.Entries {
		require.LessOrEqual(t, cap(e), 2*len(e))
	}
}
