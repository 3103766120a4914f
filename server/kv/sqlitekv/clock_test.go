package sqlitekv

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

const decade = 10 * 365 * 24 * time.Hour

// wall opens a store at a given time of the system's clock. The test moves the monotonic clock.
func wall(t *testing.T, dir string, at time.Time) (*Store, *atomic.Int64) {
	t.Helper()
	moved := &atomic.Int64{}
	s, err := openAt(dir, nil, clock{at.UnixMilli(), func() time.Duration { return time.Duration(moved.Load()) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, moved
}

// If the system's clock is set back, and later forward again, no entry expires early: neither an existing one, nor one
// that was written while the clock was behind.
func TestClockSetBackExpiresNothing(t *testing.T) {
	t.Parallel()
	dir, at, value := t.TempDir(), time.Now(), []byte("v")
	s, moved := wall(t, dir, at)
	for _, key := range []string{"kept", "patched"} {
		require.NoError(t, kv.Set(t.Context(), s, key, value, time.Hour))
	}
	moved.Add(int64(time.Minute))
	require.NoError(t, s.Close())

	s, moved = wall(t, dir, at.Add(-decade))
	changed, err := kv.ExpireIf(t.Context(), s, "patched", value, 2*time.Hour)
	require.NoError(t, err)
	require.True(t, changed)
	require.NoError(t, kv.Set(t.Context(), s, "new", value, time.Hour))
	moved.Add(int64(time.Minute))
	require.NoError(t, s.Close())

	s, moved = wall(t, dir, at.Add(3*time.Minute))
	for key, left := range map[string]time.Duration{"kept": 57 * time.Minute, "patched": 2*time.Hour - 2*time.Minute, "new": 58 * time.Minute} {
		got, ok, err := s.TTL(t.Context(), key)
		require.NoError(t, err)
		require.True(t, ok, key)
		require.InDelta(t, left, got, float64(time.Second), key)
	}
	moved.Add(int64(3 * time.Hour))
	require.Eventually(t, func() bool { n, err := s.Bytes(t.Context()); return err == nil && n == 0 }, time.Minute, time.Millisecond)
}

// A start with a clock that is ten years ahead expires entries, as ten years would. Entries that are written then stay
// when the clock is corrected.
func TestClockSetForwardExpiresEntries(t *testing.T) {
	t.Parallel()
	dir, at, value := t.TempDir(), time.Now(), []byte("v")
	s, _ := wall(t, dir, at)
	require.NoError(t, kv.Set(t.Context(), s, "forever", value, 0))
	require.NoError(t, kv.Set(t.Context(), s, "limited", value, time.Hour))
	require.NoError(t, s.Close())

	s, _ = wall(t, dir, at.Add(decade))
	_, ok, err := s.TTL(t.Context(), "limited")
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, kv.Set(t.Context(), s, "new", value, time.Hour))
	require.NoError(t, s.Close())

	s, moved := wall(t, dir, at)
	for i, step := range []time.Duration{0, 59 * time.Minute, time.Minute} {
		moved.Add(int64(step))
		_, ok, err := s.TTL(t.Context(), "new")
		require.NoError(t, err)
		require.Equal(t, i < 2, ok, fmt.Sprint(i))
	}
	_, ok, err = s.TTL(t.Context(), "forever")
	require.NoError(t, err)
	require.True(t, ok)
}

// TTL does not return the fraction of a millisecond by which the expiry was rounded up.
func TestTTLHidesRounding(t *testing.T) {
	for _, elapsed := range []time.Duration{0, 1, 500 * time.Microsecond, time.Millisecond - 1, time.Hour + 1} {
		c := clock{1_700_000_000_000, func() time.Duration { return elapsed }}
		for _, ttl := range []time.Duration{time.Nanosecond, time.Millisecond, 20 * time.Minute, math.MaxInt64} {
			left := c.timeLeft(c.expiry(ttl))
			require.GreaterOrEqual(t, left, min(ttl, math.MaxInt64-2*time.Hour), "%s after %s", ttl, elapsed)
			require.Less(t, left-ttl, time.Millisecond, "%s after %s", ttl, elapsed)
		}
	}
}
