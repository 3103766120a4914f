package sqlitekv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/proctest"
	"github.com/coffer-storage/coffer/server/kv"
)

func TestFullDiskRefusesWrites(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDisk", t.TempDir())
}

// init registers the test's process, which runs where file systems can be mounted.
func init() { roles["fillsDisk"] = fillDisk }

// On a full disk, writes fail with kv.ErrFull, reads and deletions still work, and the store can be opened. No
// acknowledged write is lost.
func fillDisk(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "120m")
	ctx, dir := context.Background(), filepath.Join(root, "store")
	s, err := Open(dir, nil)
	require.NoError(t, err)
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, 20_000) }
	written := 0
	for ; err == nil; written++ {
		require.Less(t, written, 10_000, "the disk did not become full")
		err = kv.Set(ctx, s, fmt.Sprint(written), value(written), time.Hour)
	}
	written--
	require.ErrorIs(t, err, kv.ErrFull)
	require.Greater(t, written, 300)
	intact := func(from int) {
		t.Helper()
		for i := from; i < written; i++ {
			got, ok, err := kv.Get(ctx, s, fmt.Sprint(i))
			require.NoError(t, err)
			require.True(t, ok && bytes.Equal(value(i), got), "entry %d", i)
		}
	}
	intact(0)

	// Space that a deletion frees within the database can be reused.
	for i := range 10 {
		existed, err := kv.Delete(ctx, s, fmt.Sprint(i))
		require.NoError(t, err)
		require.True(t, existed)
	}
	require.NoError(t, kv.Set(ctx, s, "again", value(0), 0))

	// Other programs take the rest of the disk.
	filler, err := os.Create(filepath.Join(root, "filler"))
	require.NoError(t, err)
	proctest.FillDisk(t, filler)
	intact(10)
	require.ErrorIs(t, kv.Set(ctx, s, "more", value(0), 0), kv.ErrFull)
	require.ErrorIs(t, kv.Set(ctx, s, "small", nil, 0), kv.ErrFull)
	_, err = kv.SetIf(ctx, s, "20", value(20), value(21), 0)
	require.ErrorIs(t, err, kv.ErrFull)
	done, err := s.Write(ctx, []kv.Write{{Key: "small"}, {Key: "10", Op: kv.Remove}, {Key: "11", Op: kv.Remove}})
	require.Equal(t, []bool{false, true, true}, done, "deletions of the batch must succeed")
	require.Equal(t, []bool{true, false, false}, failed(kv.ErrorsOf(err, 3)))
	for i := 12; i < 200; i++ {
		existed, err := kv.Delete(ctx, s, fmt.Sprint(i))
		require.NoError(t, err)
		require.True(t, existed)
	}
	changed, err := kv.ExpireIf(ctx, s, "200", value(200), 2*time.Hour)
	require.NoError(t, err)
	require.True(t, changed)
	intact(200)
	require.NoError(t, s.Ping(ctx))

	for from := 200; from < 300; from += 20 { // other programs take the space that the reserve releases each time
		require.NoError(t, s.Close())
		proctest.FillDisk(t, filler) // including the space that the log released
		s, err = Open(dir, nil)
		require.NoError(t, err, "the store opens on the full disk")
		intact(from)
		_, ok, err := kv.Get(ctx, s, "10")
		require.NoError(t, err)
		require.False(t, ok)
		for i := from; i < from+20; i++ { // the log restarts and needs the reserve
			existed, err := kv.Delete(ctx, s, fmt.Sprint(i))
			require.NoError(t, err)
			require.True(t, existed)
		}
	}

	require.NoError(t, s.Close())
	free, err := durable.FreeSpace(root)
	require.NoError(t, err)
	require.NoError(t, filler.Truncate(0))
	s, err = Open(dir, nil, WithMinFreeSpace(free+100<<20))
	require.NoError(t, err)
	require.ErrorIs(t, kv.Set(ctx, s, kv.Prefix("a", "cache")+"more", make([]byte, 30<<20), 0), kv.ErrFull, "the free space is left to other programs")
	require.NoError(t, kv.Set(ctx, s, "without owner", make([]byte, 1<<10), 0), "keys of the server itself may use this space")
	require.NoError(t, s.Close())
	s, err = Open(dir, nil)
	require.NoError(t, err)

	require.NoError(t, filler.Close())
	require.NoError(t, os.Remove(filler.Name()))
	require.NoError(t, kv.Set(ctx, s, "more", value(0), 0))
	intact(300)
	require.NoError(t, s.Close())
}

func failed(errs []error) (all []bool) {
	for _, err := range errs {
		all = append(all, err != nil)
	}
	return all
}

func TestConcurrentLargeWritesOnFullDisk(t *testing.T) {
	t.Parallel()
	proctest.RunMounting(t, "fillsDiskAtOnce", t.TempDir())
}

func init() { roles["fillsDiskAtOnce"] = fillAtOnce }

// Of large values that are written concurrently, those that fit are written. The others leave no parts.
func fillAtOnce(t testing.TB) {
	root := os.Args[1]
	proctest.MountSmall(t, root, "120m")
	ctx := context.Background()
	s, err := Open(filepath.Join(root, "store"), nil)
	require.NoError(t, err)
	value, errs := make([]byte, 30<<20), make([]error, 5)
	var writers sync.WaitGroup
	for i := range errs {
		writers.Go(func() { errs[i] = kv.Set(ctx, s, fmt.Sprint(i), value, 0) })
	}
	writers.Wait()
	require.Contains(t, errs, nil)
	for i, err := range errs {
		got, ok, failed := kv.Get(ctx, s, fmt.Sprint(i))
		require.NoError(t, failed)
		if err == nil {
			require.Len(t, got, len(value))
		} else {
			require.ErrorIs(t, err, kv.ErrFull)
			require.False(t, ok)
		}
	}
	require.NoError(t, s.removeDiscarded(ctx))
	c := <-s.writer
	require.NoError(t, c.checkBlobs())
	s.writer <- c
	require.NoError(t, s.Close())
}
