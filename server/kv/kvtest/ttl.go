package kvtest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func ttl(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for _, d := range []time.Duration{
		61500 * time.Millisecond, 70 * time.Second, 90*time.Minute + 1, 30 * 24 * time.Hour, 100 * 365 * 24 * time.Hour,
	} {
		require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), d))
		requireTTL(t, s, "k", d)
	}
	mustSet(t, s, "k", []byte("v"))
	requireTTL(t, s, "k", 0)

	// The shortest TTL is rounded up and does not become "no limit". The longest TTL does not overflow.
	require.NoError(t, kv.Set(ctx, s, "short", nil, 1))
	require.Eventually(t, func() bool {
		_, ok, err := kv.Get(ctx, s, "short")
		return err == nil && !ok
	}, time.Minute, time.Millisecond)
	require.NoError(t, kv.Set(ctx, s, "long", nil, math.MaxInt64))
	requireValue(t, s, "long", nil)
}

// The remaining time is never 0, which would mean that the entry does not expire, even in its last millisecond.
func countdown(t *testing.T, s kv.Store) {
	for range 5 {
		require.NoError(t, kv.Set(t.Context(), s, "k", nil, 15*time.Millisecond))
		for start := time.Now(); ; {
			require.Less(t, time.Since(start), time.Minute, "the entry did not expire")
			left, ok, err := s.TTL(t.Context(), "k")
			require.NoError(t, err)
			if !ok {
				break
			}
			require.Positive(t, left)
		}
	}
}

// requireTTL checks that at most want remains, and not much less.
func requireTTL(t *testing.T, s kv.Store, key string, want time.Duration) {
	t.Helper()
	left, ok, err := s.TTL(t.Context(), key)
	require.NoError(t, err)
	require.True(t, ok)
	if want == 0 {
		require.Zero(t, left)
		return
	}
	require.LessOrEqual(t, left, want+time.Millisecond)
	require.Greater(t, left, want-min(want/2, 10*time.Minute)) // allows for a slow machine
}

// tolerance is how much earlier or later than its TTL a key may expire, besides the duration of the calls.
const tolerance = 50 * time.Millisecond

func expiry(t *testing.T, s kv.Store) {
	// Whole and partial seconds, because stores treat them differently.
	for _, d := range []time.Duration{120 * time.Millisecond, 730 * time.Millisecond, time.Second, 1300 * time.Millisecond} {
		for name, exists := range readers(t, s) {
			t.Run(name+" "+d.String(), func(t *testing.T) {
				t.Parallel()
				requireExpiry(t, s, t.Name(), d, exists)
			})
		}
	}
}

// readers returns the functions that report whether a key exists.
func readers(t *testing.T, s kv.Store) map[string]func(key string) (bool, error) {
	ctx := t.Context()
	return map[string]func(key string) (bool, error){
		"get":    func(key string) (bool, error) { _, ok, err := kv.Get(ctx, s, key); return ok, err },
		"exists": func(key string) (bool, error) { return kv.Exists(ctx, s, key) },
		"scan":   func(key string) (bool, error) { return len(scanAll(t, s, key, 0)) > 0, nil },
	}
}

// requireExpiry polls a key, and takes the begin and end of each call into account, so that a slow machine fails no
// test.
func requireExpiry(t *testing.T, s kv.Store, key string, d time.Duration, exists func(string) (bool, error)) {
	t.Helper()
	beforeSet := time.Now()
	require.NoError(t, kv.Set(t.Context(), s, key, []byte("v"), d))
	afterSet := time.Now()
	for {
		began := time.Now()
		ok, err := exists(key)
		require.NoError(t, err)
		if !ok {
			require.GreaterOrEqual(t, time.Since(beforeSet), d-tolerance, "the key expired too early")
			return
		}
		require.LessOrEqual(t, began.Sub(afterSet), d+tolerance, "the key expired too late")
		time.Sleep(2 * time.Millisecond)
	}
}

func expired(t *testing.T, s kv.Store) {
	ctx := t.Context()
	entries := make([]kv.Entry, 6)
	for i := range entries {
		entries[i] = kv.Entry{Key: fmt.Sprint("k", i), Value: []byte("v"), TTL: 50 * time.Millisecond}
	}
	require.NoError(t, kv.SetMany(ctx, s, entries))
	time.Sleep(50*time.Millisecond + tolerance)

	existed, err := kv.Delete(ctx, s, "k0")
	require.NoError(t, err)
	require.False(t, existed)
	deleted, err := kv.DeleteMany(ctx, s, []string{"k1"})
	require.NoError(t, err)
	require.Equal(t, []bool{false}, deleted)
	_, ok, err := s.TTL(ctx, "k2")
	require.NoError(t, err)
	require.False(t, ok)
	got, err := kv.GetMany(ctx, s, []string{"k3"})
	require.NoError(t, err)
	require.Equal(t, [][]byte{nil}, got)
	ok, err = kv.CompareAndSwap(ctx, s, "k4", []byte("v"), []byte("w"))
	require.NoError(t, err)
	require.False(t, ok)
	require.Empty(t, scanAll(t, s, "", 0))
}

func overwriteTTL(t *testing.T, s kv.Store) {
	ctx := t.Context()
	require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), 100*time.Millisecond))
	require.NoError(t, kv.Set(ctx, s, "k", []byte("v"), time.Hour))
	requireTTL(t, s, "k", time.Hour)
	require.NoError(t, kv.Set(ctx, s, "l", []byte("v"), 100*time.Millisecond))
	mustSet(t, s, "l", []byte("v"))
	requireTTL(t, s, "l", 0)
	time.Sleep(100*time.Millisecond + tolerance)
	requireValue(t, s, "k", []byte("v"))
	requireValue(t, s, "l", []byte("v"))

	// Delete also removes the TTL.
	_, err := kv.Delete(ctx, s, "k")
	require.NoError(t, err)
	mustSet(t, s, "k", []byte("v"))
	requireTTL(t, s, "k", 0)
}
