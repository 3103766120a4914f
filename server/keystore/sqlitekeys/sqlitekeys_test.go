package sqlitekeys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func put(t testing.TB, s *Store, name, content string) {
	t.Helper()
	keystoretest.Put(t, s, keystore.Keysets, name, []byte(content))
}

func requireContent(t testing.TB, s *Store, name, want string) {
	t.Helper()
	content, err := s.Get(t.Context(), keystore.Keysets, name)
	require.NoError(t, err)
	require.Equal(t, want, string(content))
}

func TestConformance(t *testing.T) {
	t.Parallel()
	keystoretest.Run(t, func(t *testing.T) func(testing.TB) keystore.Store {
		dir := filepath.Join(t.TempDir(), "made", "here ?%20#&+")
		return func(t testing.TB) keystore.Store { return open(t, dir) }
	})
}

// another returns a connection of another program.
func another(t testing.TB, dir string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.Join(dir, fileName))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// While another process reads, a Swap waits. All files, including the journal, are readable by their owner only.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, dir)
	reader := another(t, dir)
	require.NoError(t, reader.Exec("BEGIN; SELECT * FROM documents"))
	done := make(chan error, 1)
	go func() {
		_, err := s.Swap(context.Background(), keystore.Keysets, "x", nil, []byte("document"), 1)
		done <- err
	}()
	journal := filepath.Join(dir, fileName+"-journal")
	require.Eventually(t, func() bool { // SQLite sets the mode of a new journal before it writes to it
		info, err := os.Stat(journal)
		return err == nil && info.Size() > 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
	require.NoError(t, reader.Exec("COMMIT"))
	require.NoError(t, <-done)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "one file remains at rest")
}

// A canceled call does not wait for another process's lock or for another call, and changes nothing.
func TestCanceledCallStopsWaiting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "x", "one")
	other := another(t, dir)
	require.NoError(t, other.Exec("BEGIN EXCLUSIVE"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := s.Swap(ctx, keystore.Keysets, "x", []byte("one"), []byte("two"), 0)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = s.Get(ctx, keystore.Keysets, "x")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(began), 9*time.Second)
		})
	}
	wg.Wait()
	require.NoError(t, other.Exec("COMMIT"))
	requireContent(t, s, "x", "one")
}

// If several processes create the file concurrently, no write of any of them is lost.
func TestConcurrentCreationLosesNoWrite(t *testing.T) {
	t.Parallel()
	for range 10 {
		dir := t.TempDir()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				s, err := Open(dir)
				if assert.NoError(t, err) {
					_, err = s.Swap(t.Context(), keystore.Keysets, fmt.Sprint(i), nil, []byte("document"), 0)
					assert.NoError(t, errors.Join(err, s.Close()))
				}
			})
		}
		wg.Wait()
		documents, _, err := open(t, dir).Page(t.Context(), keystore.Keysets, "", 10)
		require.NoError(t, err)
		require.Len(t, documents, 8)
	}
}

func TestOpenRefusesInvalidFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "x", "one")
	keystoretest.ExecSQL(t, dir, fmt.Sprintf("PRAGMA user_version = %d", schema.Version+1))
	_, err := Open(dir)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, "format 2")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Open(file)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, file)

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), make([]byte, 8192), 0o600))
	_, err = Open(dir)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, "coffer store repair")
}

// A closed store opens its file again.
func TestClosedStoreOpensAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "x", "one")
	require.NoError(t, s.Close())
	requireContent(t, s, "x", "one")
}

// A feed keeps its last entries. For a reader that is further behind, the feed is lost.
func TestFeedIsTrimmed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	first := keystoretest.CurrentPosition(t, s)
	add := func(n int) {
		keystoretest.ExecSQL(t, dir, fmt.Sprintf("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i < %d) "+
			"INSERT INTO feed (kind, name) SELECT 'lease', x'00' FROM n", n))
	}
	add(feedPage / 2)
	second := keystoretest.CurrentPosition(t, s)
	add(feedLength - feedPage)
	require.NoError(t, s.transact(t.Context(), write, s.path, func(c *sqlitefile.Conn) (err error) {
		for i := 0; i < 2*feedPage && err == nil; i++ {
			err = change(c, keystore.Sweeps, "filler", fmt.Append(nil, i), 0)
		}
		return err
	}))
	_, _, err := s.Changes(t.Context(), first)
	require.ErrorIs(t, err, keystore.ErrFeedLost)
	_, _, err = s.Changes(t.Context(), second)
	require.ErrorIs(t, err, keystore.ErrFeedLost)
	third := keystoretest.CurrentPosition(t, s)
	put(t, s, "x", "one")
	changes, _ := keystoretest.ReadChanges(t, s, third)
	require.Equal(t, []keystore.Change{{Kind: keystore.Keysets, Name: "x"}}, changes)
	for _, position := range []keystore.Position{"1", "x", " ", "1 2", "99999999999999999999 1"} {
		_, _, err = s.Changes(t.Context(), position)
		require.ErrorIs(t, err, keystore.ErrFeedLost, position)
	}
}

// Each call does the same work for any number of idle documents.
func TestCostIsIndependentOfIdleDocuments(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	work := func() (steps int) {
		since := keystoretest.CurrentPosition(t, s)
		require.NoError(t, s.Close())
		documents, _, err := s.Page(t.Context(), keystore.Keysets, "", 10)
		require.NoError(t, err)
		require.Len(t, documents, 10)
		changes, _, err := s.Changes(t.Context(), since)
		require.NoError(t, err)
		require.Empty(t, changes)
		names, err := s.Due(t.Context(), keystore.Keysets, 1000, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"due"}, names)
		c := <-s.free
		for stmt := range c.Stmts() {
			steps += stmt.Status(sqlite3.STMTSTATUS_VM_STEP, true)
			require.Zero(t, stmt.Status(sqlite3.STMTSTATUS_FULLSCAN_STEP, true), stmt.SQL())
			require.Zero(t, stmt.Status(sqlite3.STMTSTATUS_SORT, true), stmt.SQL())
		}
		s.free <- c
		return steps
	}
	_, err := s.Swap(t.Context(), keystore.Keysets, "due", nil, []byte("document"), 1000)
	require.NoError(t, err)
	add := func(from, to int) {
		require.NoError(t, s.transact(t.Context(), write, s.path, func(c *sqlitefile.Conn) error {
			for i := from; i < to; i++ {
				if err := change(c, keystore.Keysets, fmt.Sprint(i), []byte("document"), int64(90*24*3_600_000+i)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	add(0, 20)
	few := work()
	add(20, 20_000)
	require.Equal(t, few, work())
}

// A document without content is damaged. It must not be reported as missing, because new keys are made for missing
// documents.
func TestEmptyDocumentIsDamaged(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.transact(t.Context(), write, "x", func(c *sqlitefile.Conn) error {
		return change(c, keystore.Keysets, "x", []byte{}, 0)
	}))
	content, err := s.Get(t.Context(), keystore.Keysets, "x")
	require.NoError(t, err)
	require.NotNil(t, content)
	require.Empty(t, content)
}
