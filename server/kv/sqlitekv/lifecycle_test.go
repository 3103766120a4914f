package sqlitekv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

func TestReopenKeepsValuesAndTTL(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "made", "here ?%20#")
	s := open(t, dir)
	large := bytes.Repeat([]byte("large"), 1<<20)
	require.NoError(t, kv.Set(ctx, s, "large", large, time.Hour))
	require.NoError(t, kv.Set(ctx, s, "short", nil, 100*time.Millisecond))
	require.NoError(t, kv.Set(ctx, s, "forever", []byte("v"), 0))
	first, err := s.Topology(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = open(t, dir)
	require.Eventually(t, func() bool { _, ok, err := kv.Get(ctx, s, "short"); return err == nil && !ok }, time.Minute, time.Millisecond)
	got, ok, err := kv.Get(ctx, s, "large")
	require.NoError(t, err)
	require.True(t, ok && bytes.Equal(large, got))
	left, _, err := s.TTL(ctx, "large")
	require.NoError(t, err)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
	keys, _, err := s.Scan(ctx, "", "", 0)
	require.NoError(t, err)
	require.Equal(t, []string{"forever", "large"}, keys)
	again, err := s.Topology(ctx)
	require.NoError(t, err)
	require.Equal(t, first, again)
	other, err := open(t, t.TempDir()).Topology(ctx)
	require.NoError(t, err)
	require.NotEqual(t, first.ID, other.ID)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
}

var roles = map[string]func(testing.TB){"writesForever": writeForever}

func TestMain(m *testing.M) { proctest.Main(m, roles) }

// writeForever is the second process: it opens the directory and writes until it is killed.
func writeForever(t testing.TB) {
	s, err := Open(os.Args[1], nil)
	require.NoError(t, err)
	for i := 0; ; i++ {
		require.NoError(t, kv.Set(t.Context(), s, fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 1<<(i%20)), time.Hour))
		fmt.Println(i)
	}
}

// killAfter kills a process during a write, after the process has printed a number of lines and while has returned. It
// returns how many lines the process printed.
func killAfter(t *testing.T, child *exec.Cmd, lines int, while func()) (written int) {
	t.Helper()
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	printed := bufio.NewScanner(out)
	for written < lines && printed.Scan() {
		require.Equal(t, fmt.Sprint(written), printed.Text())
		written++
	}
	while()
	require.NoError(t, child.Process.Kill())
	for printed.Scan() {
		written++
	}
	_ = child.Wait()
	return written
}

// Every write that returned survives a kill.
func TestWritesSurviveKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := proctest.RoleCommand(t, "writesForever", dir)
	written := killAfter(t, child, 200, func() {
		_, err := Open(dir, nil)
		require.ErrorIs(t, err, ErrInUse)
		require.ErrorContains(t, err, dir)
	})
	s := open(t, dir)
	for i := range written {
		got, ok, err := kv.Get(t.Context(), s, fmt.Sprint(i))
		require.NoError(t, err)
		require.True(t, ok && bytes.Equal(bytes.Repeat([]byte{byte(i)}, 1<<(i%20)), got), "entry %d of %d", i, written)
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	require.NoError(t, s.Close())
	c, err := sqlite3.Open("file:" + filepath.Join(dir, fileName))
	require.NoError(t, err)
	require.NoError(t, c.Exec(fmt.Sprintf("PRAGMA user_version = %d", schema.Version+1)))
	require.NoError(t, c.Close())
	_, err = Open(dir, nil)
	require.ErrorContains(t, err, fmt.Sprint("format ", schema.Version+1))
	_, err = Open(dir, nil)
	require.NotErrorIs(t, err, ErrInUse, "the lock was released")
}

func TestOpenFailsAtPathOfFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, nil)
	require.ErrorContains(t, err, "not a directory")
}

func TestCloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	value := make([]byte, 1<<20)
	require.NoError(t, kv.Set(t.Context(), s, "k", value, 0))
	var wg sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range 8 {
		wg.Go(func() {
			for first := true; ; first = false {
				_, _, err := kv.Get(t.Context(), s, "k")
				if err == nil {
					err = kv.Set(t.Context(), s, "k", value, 0)
				}
				if first {
					begun <- struct{}{}
				}
				if err != nil {
					require.ErrorIs(t, err, kv.ErrClosed)
					return
				}
			}
		})
	}
	<-begun
	require.NoError(t, s.Close())
	wg.Wait()
}

// fileSize returns the size of the database and its log in bytes.
func fileSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, name := range []string{fileName, fileName + "-wal"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			n += info.Size()
		}
	}
	return n
}

// The space of expired and deleted entries returns to the file system without a call.
func TestSpaceIsReclaimed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	value := make([]byte, 300<<10)
	for i := range 100 {
		ttl := time.Millisecond
		if i%2 == 0 {
			ttl = 0
		}
		require.NoError(t, kv.Set(t.Context(), s, fmt.Sprint(i), value, ttl))
	}
	for i := range 100 {
		_, err := kv.Delete(t.Context(), s, fmt.Sprint(i))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		info, err := os.Stat(filepath.Join(dir, fileName))
		return err == nil && info.Size() < 5<<20
	}, time.Minute, 20*time.Millisecond)
	require.Less(t, fileSize(t, dir), int64(5<<20+(maxLogPages+1000)*pageSize), "the log must restart")
}

// Damage anywhere in the file causes an error of the store. It never causes a missing key or a different value.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	const n = 400
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 20+i%700) }
	for i := range n {
		require.NoError(t, kv.Set(t.Context(), s, fmt.Sprint(i), value(i), 0))
	}
	require.NoError(t, kv.Set(t.Context(), s, "large", make([]byte, 1<<20), 0))
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	random, harmless := rand.New(rand.NewPCG(1, 2)), 0
	for range 200 {
		at, bit := random.IntN(len(whole)), random.IntN(8)
		copied := t.TempDir()
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << bit
		require.NoError(t, os.WriteFile(filepath.Join(copied, fileName), damaged, 0o600))
		found, err := look(t, copied, n, value)
		if err == nil { // the damaged page is free and never read
			harmless++
			continue
		}
		require.ErrorIs(t, err, kv.ErrUnavailable, "bit %d of byte %d", bit, at)
		require.True(t, errors.Is(err, kv.ErrDamaged) || found == 0, "%v", err)
	}
	require.Less(t, harmless, 20)
}

// look reads the whole store and returns the first error. Each value that it reads must be right.
func look(t *testing.T, dir string, n int, value func(int) []byte) (found int, failed error) {
	s, err := Open(dir, nil)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	keys, _, err := s.Scan(t.Context(), "", "", n+10)
	if err == nil {
		require.Len(t, keys, n+1)
	}
	failed = err
	for i := range n {
		got, ok, err := kv.Get(t.Context(), s, fmt.Sprint(i))
		if err != nil {
			failed = err
			continue
		}
		require.True(t, ok && bytes.Equal(value(i), got), "entry %d is missing or another one", i)
		found++
	}
	if _, _, err := kv.Get(t.Context(), s, "large"); err != nil {
		failed = err
	}
	return found, failed
}

// A database that was moved, replaced or removed accepts no writes, because the next start would not find them. It
// accepts writes again when it is back.
func TestMissingDatabaseAcceptsNoWrites(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	s, err := Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("before"), 0))
	refused := func(why string) {
		require.ErrorIs(t, kv.Set(t.Context(), s, "k", []byte("x"), 0), kv.ErrUnavailable, why)
		_, err := kv.DeleteMany(t.Context(), s, []string{"k"})
		require.ErrorIs(t, err, kv.ErrUnavailable, why)
		value, ok, err := kv.Get(t.Context(), s, "k")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "before", string(value), why)
	}
	require.NoError(t, os.Rename(dir, dir+"2"))
	refused("the directory was renamed")
	require.NoError(t, os.Rename(dir+"2", dir))
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("before"), 0))
	file := filepath.Join(dir, "cache.db")
	require.NoError(t, os.Rename(file, file+"2"))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	refused("the file was replaced")
	require.NoError(t, os.Remove(file))
	refused("the file was removed")
	require.NoError(t, os.Rename(file+"2", file))
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("after"), 0))
}
