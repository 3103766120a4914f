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
)

// unwritable is a store of keysets in which no rotation can be written down.
type unwritable struct {
	keystore.Store
	broken atomic.Bool
}

func (u *unwritable) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	if u.broken.Load() && kind == keystore.Rotations {
		return false, keystore.ErrUnavailable
	}
	return u.Store.Swap(ctx, kind, id, old, content, due)
}

// What metrics tell: how old keys are, which of them should have been rotated and were not, and how far rotations are.
func TestSeen(t *testing.T) {
	t.Parallel()
	inner, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inner.Close()) })
	store, keys := &faulty{Store: inner}, &unwritable{Store: directory(t, t.TempDir())}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Age = 90 * 24 * time.Hour })
	const n = 600
	s.fill(n)
	require.Equal(t, rotation.Seen{}, s.Seen(), "nothing was looked at")
	s.serve(func() bool { return s.Seen().Keys && s.Seen().Rotations != nil })
	seen := s.Seen()
	require.WithinDuration(t, time.Now(), seen.Oldest, time.Minute)
	require.Equal(t, rotation.Seen{Keys: true, Oldest: seen.Oldest, Room: seen.Room, Rotations: map[rotation.State]int{}}, seen)
	require.Greater(t, seen.Room, 300)
	s.grow(1000)
	s.serve(func() bool { return s.Seen().Room == 24 })

	keys.broken.Store(true)
	s.clock.pass(91 * 24 * time.Hour)
	s.serve(func() bool { return s.Seen().Overdue > 0 })
	seen = s.Seen()
	require.Equal(t, classes, seen.Overdue)
	require.NotZero(t, seen.Errors)
	require.WithinDuration(t, time.Now(), seen.Oldest, time.Minute, "the clock went on, the keys are the same")

	keys.broken.Store(false)
	s.Rate = 200 // so that it writes down in between how far it is
	halfway := make(chan struct{})
	store.before = func(string) {
		if s.Seen().Left > 0 {
			<-halfway
		}
	}
	var once sync.Once
	s.serve(func() bool {
		seen := s.Seen()
		if seen.Leading && seen.Left > 0 {
			once.Do(func() { close(halfway) })
		}
		return seen.Rotations[rotation.Grace] == 1
	})
	<-halfway
	seen = s.Seen()
	require.False(t, s.Seen().Leading)
	require.Zero(t, seen.Overdue)
	require.WithinDuration(t, s.clock.now(), seen.Oldest, time.Minute)
	require.Equal(t, rotation.Counts{Scanned: n, Reencrypted: n}, seen.Entries)
	require.Equal(t, map[rotation.State]int{rotation.Grace: 1}, seen.Rotations)
	require.Zero(t, seen.Left)
	seen.Rotations[rotation.Grace] = 7
	require.Equal(t, 1, s.Seen().Rotations[rotation.Grace], "who was told changes nothing")
}
