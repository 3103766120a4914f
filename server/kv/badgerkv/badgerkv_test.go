package badgerkv

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}

func TestReopenKeepsValuesAndTTL(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "made", "here")
	s := open(t, dir)
	large := bytes.Repeat([]byte("large"), 1<<20)
	require.NoError(t, s.Set(ctx, "large", large, time.Hour))
	require.NoError(t, s.Set(ctx, "short", nil, 100*time.Millisecond))
	require.NoError(t, s.Set(ctx, "forever", []byte("v"), 0))
	require.NoError(t, s.Close())
	time.Sleep(100 * time.Millisecond)

	s = open(t, dir)
	got, ok, err := s.Get(ctx, "large")
	require.NoError(t, err)
	require.True(t, ok && bytes.Equal(large, got))
	left, _, err := s.TTL(ctx, "large")
	require.NoError(t, err)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
	keys, _, err := s.Scan(ctx, "", "", 0)
	require.NoError(t, err)
	require.Equal(t, []string{"forever", "large"}, keys)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
}

const childDir = "COFFER_TEST_BADGERKV_DIR"

// TestMain lets the test binary be the second process: it opens the directory, writes, and waits to be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Open(dir, nil)
	for i := 0; err == nil && i < 100; i++ {
		err = s.Set(context.Background(), fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 1<<(i%20)), time.Hour)
	}
	fmt.Println("written", err)
	select {}
}

func TestSecondProcessAndKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer func() { _ = child.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "written <nil>\n", line)

	_, err = Open(dir, nil)
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, dir)

	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	s := open(t, dir)
	for i := range 100 {
		got, ok, err := s.Get(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		require.True(t, ok && bytes.Equal(bytes.Repeat([]byte{byte(i)}, 1<<(i%20)), got), "entry %d", i)
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{0, formatVersion + 1} {
		dir := t.TempDir()
		db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithExternalMagic(version))
		require.NoError(t, err)
		require.NoError(t, db.Close())
		_, err = Open(dir, nil)
		require.Error(t, err, "version %d", version)
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, nil)
	require.ErrorContains(t, err, "not a directory")
}

func TestDamagedRecordIsAnError(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.db.Update(func(txn *badger.Txn) error { return txn.Set(storedKey("k"), []byte("short")) }))
	_, _, err := s.Get(t.Context(), "k")
	require.ErrorIs(t, err, errRecord)
	require.NotErrorIs(t, err, kv.ErrUnavailable)
}

func TestCloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	value := make([]byte, 1<<20)
	require.NoError(t, s.Set(t.Context(), "k", value, 0))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				if _, _, err := s.Get(t.Context(), "k"); err != nil {
					require.ErrorIs(t, err, kv.ErrClosed)
					return
				}
				if err := s.Set(t.Context(), "k", value, 0); err != nil {
					require.ErrorIs(t, err, kv.ErrClosed)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, s.Close())
	wg.Wait()
}

func TestMessagesGoToTheLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := Open(t.TempDir(), logger)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Contains(t, out.String(), "level=DEBUG msg=\"badger: ")
	require.NotContains(t, out.String(), "level=INFO")

	out.Reset()
	messages{slog.New(slog.NewTextHandler(&out, nil))}.Warningf("no")
	require.Empty(t, out.String())
	messages{slog.New(slog.NewTextHandler(&out, nil))}.Errorf("yes %d\n", 1)
	require.Contains(t, out.String(), `level=ERROR msg="badger: yes 1"`)
}

func TestSweeper(t *testing.T) {
	t.Parallel()
	kvtest.RunSweeper(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}
