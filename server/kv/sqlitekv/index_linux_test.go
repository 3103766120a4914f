package sqlitekv

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

// mapped returns the files in a directory that this process has mapped into memory.
func mapped(t testing.TB, dir string) (lines []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, dir) {
			lines = append(lines, line)
		}
	}
	return lines
}

// A write to a mapped file on a disk that does not respond would block the whole process.
func TestNoFileOfTheDiskIsMapped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for range 3 {
		require.NoError(t, kv.Set(t.Context(), s, "k", make([]byte, 1<<20), 0))
	}
	require.Empty(t, mapped(t, dir))
	require.NoDirExists(t, s.index.Dir(), "a kill must leave nothing in memory")
	require.NotEmpty(t, mapped(t, s.index.Dir()), "the index must be unlinked")
}

// Other programs cannot open the database while a store uses it, because they would use another index. They cannot open
// it after a kill either, because they would move the log into the database without checksums.
func TestOtherProgramsCannotOpenDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := func() error {
		c, err := sqlite3.Open(filepath.Join(dir, fileName))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, err = c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true) // a checkpoint would panic; see Store.open
		require.NoError(t, err)
		return c.Exec("SELECT id FROM store")
	}
	s := open(t, dir)
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("v"), 0))
	require.ErrorIs(t, other(), sqlite3.CANTOPEN)
	killed := t.TempDir()
	copyFiles(t, dir, killed)
	require.NoError(t, s.Close())
	require.NoError(t, other())
	_, err := Open(dir, nil)
	require.ErrorIs(t, err, ErrInUse)
	_, err = Check(t.Context(), dir, nil)
	require.ErrorIs(t, err, ErrInUse)

	dir = killed
	require.NoError(t, os.Mkdir(filepath.Join(dir, fileName+"-shm"), 0o700)) // as a kill leaves it
	require.ErrorIs(t, other(), sqlite3.CANTOPEN)
	found, err := Check(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, found.Damage)
	require.Equal(t, 1, found.Read)
	require.ErrorIs(t, other(), sqlite3.CANTOPEN, "the log must not be removed")
	value, _, err := kv.Get(t.Context(), open(t, dir), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
}

// The next start removes an index in memory that a process left because it was killed during its start.
func TestLeftoverIndexIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	left := s.index.Dir()
	require.NoError(t, s.Close())
	require.NoError(t, os.MkdirAll(filepath.Join(left, "index"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName+"-shm"), make([]byte, 32<<10), 0o600)) // created by another program
	s = open(t, dir)
	require.Equal(t, left, s.index.Dir())
	require.NoDirExists(t, left)
}

func TestIndexIsBesideDatabaseWithoutSharedMemory(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "hasNoSharedMemory", t.TempDir())
}

func init() { roles["hasNoSharedMemory"] = withoutSharedMemory }

// If no memory can be used, the index is beside the database, and the store logs that.
func withoutSharedMemory(t testing.TB) {
	dir := os.Args[1]
	for _, mount := range []struct{ reason, options string }{{"read-only", ""}, {"is full", "size=1m"}, {"no space", "nr_inodes=2"}} {
		var flags uintptr
		if mount.options == "" {
			flags = syscall.MS_RDONLY
		}
		require.NoError(t, syscall.Mount("tmpfs", "/dev/shm", "tmpfs", flags, mount.options))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, fileName+"-shm")))
		require.NoError(t, os.Mkdir(filepath.Join(dir, fileName+"-shm"), 0o700)) // as a kill leaves it
		var log bytes.Buffer
		s, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		require.Contains(t, log.String(), "is on a disk")
		require.Contains(t, log.String(), mount.reason)
		require.NoError(t, kv.Set(t.Context(), s, "k", nil, 0))
		require.NotEmpty(t, mapped(t, dir))
		require.NoError(t, s.Close())
	}
}

// If commits cannot be recorded, writes continue. The store logs one warning, and another one only if recording fails
// again after it worked.
func TestUnrecordedCommitsAreReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	s, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	mark := descriptor(t, filepath.Join(dir, fileName+"-mark"))
	whole, err := syscall.Dup(mark)
	require.NoError(t, err)
	defer syscall.Close(whole)
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	defer full.Close()
	n := 0
	write := func() { // a value that differs each time, because a write without a change is not a commit
		n++
		require.NoError(t, kv.Set(t.Context(), s, "k", []byte{byte(n)}, 0))
	}
	for times := 1; times <= 2; times++ {
		require.NoError(t, syscall.Dup3(int(full.Fd()), mark, syscall.O_CLOEXEC))
		for range 3 {
			write()
		}
		require.Equal(t, times, strings.Count(log.String(), "cannot be recorded"), log.String())
		require.NoError(t, syscall.Dup3(whole, mark, syscall.O_CLOEXEC))
		write()
	}
}

// descriptor returns the file descriptor by which this process has a file open.
func descriptor(t testing.TB, path string) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, one := range all {
		if target, err := os.Readlink("/proc/self/fd/" + one.Name()); err == nil && target == path {
			number, err := strconv.Atoi(one.Name())
			require.NoError(t, err)
			return number
		}
	}
	t.Fatal(path + " is not open")
	return 0
}
