package rotation_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

// unwritableKeystore is a keystore that refuses writes of records.
type unwritableKeystore struct {
	keystore.Store
	broken atomic.Bool
}

func (u *unwritableKeystore) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	if u.broken.Load() && kind == keystore.Rotations {
		return false, keystore.ErrUnavailable
	}
	return u.Store.Swap(ctx, kind, id, old, content, due)
}

// Stats describe the age of keys, overdue keysets and the progress of rotations.
func TestStats(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &unwritableKeystore{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.MaxAge = 90 * 24 * time.Hour })
	const n = 600
	s.fill(n)
	require.Equal(t, rotation.Stats{SpareRotations: -1}, s.Stats(), "nothing was checked yet")
	s.serveUntil(func() bool { return s.Stats().Checked && s.Stats().Rotations != nil && s.Stats().SpareRotations >= 0 })
	stats := s.Stats()
	require.WithinDuration(t, time.Now(), stats.OldestPrimary, time.Minute)
	require.Equal(t, rotation.Stats{Checked: true, OldestPrimary: stats.OldestPrimary, SpareRotations: stats.SpareRotations, Rotations: map[rotation.State]int{}}, stats)
	require.Greater(t, stats.SpareRotations, 200)

	keys.broken.Store(true)
	s.clock.advance(91 * 24 * time.Hour)
	s.serveUntil(func() bool { return s.Stats().Overdue > 0 && s.Stats().Errors > 0 })
	keys.broken.Store(false)
	s.clock.advance(2 * time.Minute)
	s.serveUntil(func() bool { return s.Stats().Rotations[rotation.Grace] == 1 && !s.Stats().Sweeping })
	stats = s.Stats()
	require.Zero(t, stats.Overdue)
	require.Equal(t, rotation.Counts{Scanned: n, Reencrypted: n}, stats.Entries)
	require.Zero(t, stats.EntriesLeft)
	require.False(t, stats.Incomplete)
	stats.Rotations[rotation.Grace] = 7
	require.Equal(t, 1, s.Stats().Rotations[rotation.Grace], "the caller's copy")
}

// unreachableKeystore is a keystore that cannot be read.
type unreachableKeystore struct {
	keystore.Store
	down atomic.Bool
}

func (u *unreachableKeystore) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if u.down.Load() {
		return nil, keystore.ErrUnavailable
	}
	return u.Store.Get(ctx, kind, name)
}

// Each failed check is counted. In each loop of Serve, and at its start and end, a repeated error is logged once.
func TestServeLogsRepeatedErrorOnce(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &unreachableKeystore{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	s.SetPollInterval(time.Millisecond)
	keys.down.Store(true)
	var lines bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx, slog.New(slog.NewTextHandler(&lines, nil)))
	}()
	require.Eventually(t, func() bool { return s.Stats().Errors > 50 }, time.Minute, time.Millisecond)
	cancel()
	<-done
	require.LessOrEqual(t, bytes.Count(lines.Bytes(), []byte("\n")), 7, "%s", lines.Bytes())
}
