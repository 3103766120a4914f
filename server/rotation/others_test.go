package rotation_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
)

// A tenant whose keysets cannot be read holds up no other's rotation.
func TestDueBesideUnreadable(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Age = 24 * time.Hour })
	s.fill(10)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // before and after it, in whatever order
		swapped, err := s.Keystore.Swap(t.Context(), keystore.Keysets, name, nil, []byte("damaged"), 0)
		require.NoError(t, err)
		require.True(t, swapped)
	}
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] && s.Seen().Errors >= 6 })
}

// A process that was killed is taken to be at work for 15 seconds, however far its clock was ahead.
func TestLeaseOfAnotherClock(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	dir := t.TempDir()
	ahead, s := newSite(t, directory(t, dir), store, nil), newSite(t, directory(t, dir), store, nil)
	s.clock.stand()
	s.fill(10)
	s.begin(rotation.Order{})
	ahead.clock.pass(24 * time.Hour)
	ahead.work()
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Reencrypting, s.work().State, "the other one is at work")
	s.clock.pass(10 * time.Second)
	require.Equal(t, rotation.Reencrypting, s.work().State)
	said, err := s.Keystore.Get(t.Context(), keystore.Leases, "rotation of test")
	require.NoError(t, err)
	swapped, err := s.Keystore.Swap(t.Context(), keystore.Leases, "rotation of test", said, append(said, ' '), 0) // it says so again
	require.NoError(t, err)
	require.True(t, swapped)
	s.clock.pass(10 * time.Second)
	require.Equal(t, rotation.Reencrypting, s.work().State)
	s.clock.pass(15 * time.Second)
	require.Equal(t, rotation.Grace, s.work().State)
}

// reading counts how often all rotations are read, and whether that can be saved.
type reading struct {
	keystore.Store
	asked, read atomic.Int64
}

func (r *reading) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	r.asked.Add(1)
	return r.Store.Changes(ctx, since)
}

func (r *reading) Page(ctx context.Context, kind keystore.Kind, after string, limit int) ([]keystore.Document, string, error) {
	if kind == keystore.Rotations {
		r.read.Add(1)
	}
	return r.Store.Page(ctx, kind, after, limit)
}

// Where nothing changes, and nothing is due, the records are not read; and what changes is seen.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &reading{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.work().State)
	before := s.primaries()
	asked, read := keys.asked.Load(), keys.read.Load()
	s.serve(func() bool { return keys.asked.Load() >= asked+4 })
	require.EqualValues(t, 1, keys.read.Load()-read)

	asked = keys.asked.Load()
	var begin sync.Once
	s.serve(func() bool {
		if keys.asked.Load() >= asked+2 {
			begin.Do(func() { _, _ = s.Begin(context.Background(), "tenant", rotation.Order{}) })
		}
		return s.primaries()[classify.PHI] != before[classify.PHI] && s.came(rotation.Grace)()
	})
	asked = keys.asked.Load()
	s.serve(func() bool {
		if keys.asked.Load() >= asked+2 {
			s.clock.ahead.Store(int64(rotation.DefaultGrace + time.Minute))
		}
		return s.came(rotation.SecondScan)()
	})
}
