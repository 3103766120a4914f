package sqlitefile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
)

var logged = Schema{
	Version: 1, Tables: "CREATE TABLE t (n INTEGER)", Pragmas: "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0",
}

// marked is a database with a log whose commits are recorded.
type marked struct {
	t      *testing.T
	path   string
	conn   *Conn
	marker *Marker
}

func newMarked(t *testing.T) *marked {
	m := &marked{t: t, path: filepath.Join(t.TempDir(), "db")}
	var err error
	m.conn, err = Open(t.Context(), m.path, logged)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.conn.Close()) })
	require.NoError(t, m.conn.Exec("INSERT INTO t VALUES (0)"))
	m.marker, err = OpenMarker(m.path)
	require.NoError(t, err)
	return m
}

// write makes commits, and records a number of committed frames.
func (m *marked) write(commits, recorded int) {
	for range commits {
		require.NoError(m.t, m.conn.Exec("INSERT INTO t VALUES (1)"))
	}
	require.NoError(m.t, m.marker.Record(recorded))
}

// move moves the log into the database.
func (m *marked) move() {
	require.NoError(m.t, m.conn.Exec("PRAGMA checksum_verification = OFF; PRAGMA wal_checkpoint(RESTART)"))
}

// copyAfterKill returns the path of a copy of all files, in the state that a kill leaves.
func (m *marked) copyAfterKill() string {
	path := filepath.Join(m.t.TempDir(), "db")
	for _, suffix := range []string{"", "-wal", markSuffix} {
		content, err := os.ReadFile(m.path + suffix)
		require.NoError(m.t, err)
		require.NoError(m.t, os.WriteFile(path+suffix, content, 0o600))
	}
	return path
}

func flip(t *testing.T, path string, at int) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[at] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

func requireDamage(t *testing.T, path string) {
	t.Helper()
	err := CheckLog(path)
	require.True(t, IsDamage(err), "%v", err)
}

const oneFrame = frameHeader + PageSize

func TestCheckLogFindsDamage(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	require.NoError(t, CheckLog(m.copyAfterKill()))

	path := m.copyAfterKill()
	flip(t, path+"-wal", logHeader+4*oneFrame+100)
	requireDamage(t, path)

	path = m.copyAfterKill()
	require.NoError(t, os.Truncate(path+"-wal", logHeader+4*oneFrame))
	requireDamage(t, path)

	path = m.copyAfterKill()
	require.NoError(t, os.Remove(path+"-wal"))
	requireDamage(t, path)

	m.write(1, 5) // this commit is not recorded
	path = m.copyAfterKill()
	flip(t, path+"-wal", logHeader+5*oneFrame+100)
	require.NoError(t, CheckLog(path), "a commit that was not recorded cannot be checked")
}

// A kill may come between the first commit of a restarted log and its record.
func TestCheckLogAcceptsRestartedLog(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	before := m.copyAfterKill()
	m.move()
	require.NoError(t, m.conn.Exec("INSERT INTO t VALUES (2)"))
	path := m.copyAfterKill()
	require.NoError(t, CheckLog(path))
	flip(t, path+"-wal", logSalt)
	requireDamage(t, path)

	requireRecorded := func() {
		path = m.copyAfterKill()
		require.NoError(t, CheckLog(path))
		flip(t, path+"-wal", logHeader+100)
		requireDamage(t, path)
	}
	m.write(0, 1)
	requireRecorded()
	m.move()
	require.NoError(t, m.conn.Exec("INSERT INTO t VALUES (3); INSERT INTO t VALUES (3)"))
	require.NoError(t, m.marker.Record(2))
	requireRecorded()

	older, err := os.ReadFile(before + "-wal")
	require.NoError(t, err)
	path = m.copyAfterKill()
	require.NoError(t, os.WriteFile(path+"-wal", older, 0o600))
	requireDamage(t, path)
}

// If no mark was written since the machine started, nothing is known, as after a power cut.
func TestCheckLogNeedsMarkOfThisBoot(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	for name, change := range map[string]func(path string){
		"another start": func(path string) {
			other := *m.marker
			other.mark[0] ^= 1
			require.NoError(t, other.Record(5))
			require.NoError(t, os.WriteFile(path, other.mark[:], 0o600))
			m.write(0, 5)
		},
		"damaged": func(path string) { flip(t, path, markFrames) },
		"cut":     func(path string) { require.NoError(t, os.Truncate(path, markSize-1)) },
		"missing": func(path string) { require.NoError(t, os.Remove(path)) },
	} {
		path := m.copyAfterKill()
		flip(t, path+"-wal", logHeader+100)
		requireDamage(t, path)
		change(path + markSuffix)
		require.NoError(t, CheckLog(path), name)
	}
}

// A mark that cannot be written is emptied, because an outdated one would make an intact log look damaged. Later
// commits are recorded again.
func TestUnwritableMarkIsEmptied(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	log := m.marker.log
	m.marker.log = m.marker.file // too short to read a salt from
	require.NoError(t, m.marker.file.Truncate(logSalt))
	require.Error(t, m.marker.Record(6))
	flip(t, m.path+"-wal", logHeader+100)
	require.NoError(t, CheckLog(m.path))
	m.marker.log = log
	require.NoError(t, m.marker.Record(5))
	requireDamage(t, m.path)
}

// Clear fails while the mark can neither be emptied nor removed.
func TestClearFailsWhileMarkRemains(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	require.NoError(t, m.marker.file.Close())
	require.NoError(t, os.Rename(m.path+markSuffix, m.path+".moved"))
	require.NoError(t, os.MkdirAll(filepath.Join(m.path+markSuffix, "full"), 0o700))
	require.Error(t, m.marker.Record(6))
	require.Error(t, m.marker.Clear())
	require.NoError(t, os.RemoveAll(m.path+markSuffix))
	require.NoError(t, m.marker.Clear())
}

// A mark of another log is replaced at once, because a kill may come before the first commit.
func TestMarkOfAnotherLogIsReplaced(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	reopen := func() {
		m.marker.Close()
		var err error
		m.marker, err = OpenMarker(m.path)
		require.NoError(t, err)
	}
	reopen()
	flip(t, m.path+"-wal", logHeader+100)
	requireDamage(t, m.path)
	flip(t, m.path+"-wal", logHeader+100)

	for range 2 { // these commits are not recorded
		m.move()
		require.NoError(t, m.conn.Exec("INSERT INTO t VALUES (2)"))
	}
	requireDamage(t, m.path)
	reopen()
	require.NoError(t, CheckLog(m.path))
	require.NoError(t, m.marker.Clear())
	require.NoFileExists(t, m.path+markSuffix)
}

// If the mark cannot be removed, Clear empties it.
func TestClearEmptiesMarkItCannotRemove(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	require.NoError(t, os.Rename(m.path+markSuffix, m.path+".moved")) // so that the marker cannot remove it
	require.NoError(t, os.Mkdir(m.path+markSuffix, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(m.path+markSuffix, "file"), nil, 0o600))
	require.NoError(t, m.marker.Clear())
	content, err := os.ReadFile(m.path + ".moved")
	require.NoError(t, err)
	require.Empty(t, content)
}

// A connection that fails to open leaves the log unchanged.
func TestFailedOpenKeepsLog(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	path := m.copyAfterKill()
	later := logged
	later.Version++
	_, err := Open(t.Context(), path, later)
	require.ErrorContains(t, err, "the database has format 1")
	require.NoError(t, CheckLog(path))
}

// A log without its database is useless.
func TestCheckLogIgnoresLogWithoutDatabase(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	path := m.copyAfterKill()
	require.NoError(t, os.Remove(path+"-wal"))
	requireDamage(t, path)
	require.NoError(t, os.Truncate(path, 0))
	require.NoError(t, CheckLog(path))
	require.NoError(t, os.Remove(path))
	require.NoError(t, CheckLog(path))
}

// A repair that fails leaves the damaged log and its mark.
func TestFailedSalvageKeepsLog(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	path := m.copyAfterKill()
	flip(t, path+"-wal", logHeader+2*oneFrame+100)
	source := func() (*Conn, error) { return Open(t.Context(), path, logged) }
	found := &Report{File: path}
	err := Salvage(t.Context(), found, logged, source, func(*Conn, *Conn) error { return os.ErrDeadlineExceeded })
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	requireDamage(t, path)
	require.NoError(t, Salvage(t.Context(), found, logged, source, func(*Conn, *Conn) error { return nil }))
	require.FileExists(t, filepath.Join(filepath.Dir(path), found.Damaged+"-wal"))
	require.NoError(t, CheckLog(path))
}

// A repair that was killed at its end, when it may have moved some of the files, is continued by the next one. Until
// then, the database does not open.
func TestSalvageContinuesAfterKill(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	for _, moved := range []string{"", "-wal", markSuffix} { // the file that was moved before the kill
		path := m.copyAfterKill()
		whole, err := Open(t.Context(), path+readySuffix, logged)
		require.NoError(t, err)
		require.NoError(t, whole.Exec("INSERT INTO t VALUES (7); PRAGMA checksum_verification = OFF; PRAGMA wal_checkpoint(TRUNCATE)"))
		require.NoError(t, whole.Close())
		if moved != "" {
			require.NoError(t, os.Rename(path+moved, path+".damaged-1"+moved))
		}
		source := func() (*Conn, error) { return Open(t.Context(), path, logged) }
		_, err = source()
		require.True(t, IsDamage(err))
		found := &Report{File: path}
		err = Salvage(t.Context(), found, logged, source, func(from, to *Conn) error {
			n, err := from.Int("SELECT sum(n) FROM t")
			require.EqualValues(t, 7, n)
			require.NoError(t, err)
			return to.Exec("INSERT INTO t VALUES (8)")
		})
		require.NoError(t, err)
		require.Empty(t, found.Damage)
		c, err := source()
		require.NoError(t, err)
		n, err := c.Int("SELECT sum(n) FROM t")
		require.EqualValues(t, 8, n)
		require.NoError(t, errors.Join(err, c.Close()))
		require.NoError(t, CheckLog(path))
	}
}

// Only regular files are used: a FIFO would block its reader, a device would never end, and a symlink would have
// another log beside its target.
func TestCheckLogRefusesIrregularFiles(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	m.write(4, 5)
	for _, suffix := range []string{"", "-wal", markSuffix} {
		for kind, put := range map[string]func(path string) error{
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
			"link":      func(path string) error { return os.Symlink("/dev/zero", path) },
			"moved":     func(path string) error { return os.Symlink(m.path+suffix, path) },
		} {
			path := m.copyAfterKill()
			require.NoError(t, os.Remove(path+suffix))
			require.NoError(t, put(path+suffix))
			require.ErrorIs(t, CheckLog(path), durable.ErrIrregular, "%s %s", kind, suffix)
		}
	}
	path := m.copyAfterKill()
	require.NoError(t, os.Truncate(path+markSuffix, 1<<40)) // a sparse file
	require.NoError(t, CheckLog(path))
}
