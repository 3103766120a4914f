package kvtest

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func setsIf(t *testing.T, s kv.Store) {
	set := func(key string, old []byte, value string, ttl time.Duration) bool {
		t.Helper()
		ok, err := kv.SetIf(t.Context(), s, key, old, []byte(value), ttl)
		require.NoError(t, err)
		return ok
	}
	require.False(t, set("k", []byte{}, "v", 0), "a missing key does not equal the empty value")
	requireMissing(t, s, "k")
	require.True(t, set("k", nil, "", time.Hour))
	requireTTL(t, s, "k", time.Hour)
	require.False(t, set("k", nil, "other", 0), "the key exists with an empty value")
	requireTTL(t, s, "k", time.Hour)
	require.True(t, set("k", []byte{}, "one", 0))
	requireTTL(t, s, "k", 0)
	for _, wrong := range []string{"", "on", "one\x00", "two"} {
		require.False(t, set("k", []byte(wrong), "wrong", 0))
	}
	requireValue(t, s, "k", []byte("one"))
	require.True(t, set("k", []byte("one"), "\x00\xff\r\n", time.Minute))
	requireTTL(t, s, "k", time.Minute)
	require.True(t, set("k", []byte("\x00\xff\r\n"), "end", time.Hour))
	requireTTL(t, s, "k", time.Hour)

	require.True(t, set("brief", nil, "v", 30*time.Millisecond))
	time.Sleep(30*time.Millisecond + tolerance)
	require.False(t, set("brief", []byte("v"), "w", 0), "an expired value equals nothing")
	require.True(t, set("brief", nil, "w", 0))
	_, err := kv.SetIf(t.Context(), s, "k", nil, nil, -1)
	require.ErrorIs(t, err, kv.ErrInvalidTTL)
}

// If several clients create a key at once, exactly one succeeds.
func setIfContention(t *testing.T, s kv.Store) {
	const workers = 16
	for round := range 10 {
		var first atomic.Int32
		var wg sync.WaitGroup
		errs := make([]error, workers)
		for i := range workers {
			wg.Go(func() {
				ok, err := kv.SetIf(t.Context(), s, "k"+strconv.Itoa(round), nil, []byte{byte(i)}, 0)
				if errs[i] = err; ok {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.EqualValues(t, 1, first.Load())
	}
}

func deletesIf(t *testing.T, s kv.Store) {
	remove := func(key, old string) bool {
		t.Helper()
		ok, err := kv.DeleteIf(t.Context(), s, key, []byte(old))
		require.NoError(t, err)
		return ok
	}
	require.False(t, remove("k", ""))
	mustSet(t, s, "k", []byte("v"))
	require.False(t, remove("k", "w"))
	require.False(t, remove("k", ""))
	requireValue(t, s, "k", []byte("v"))
	require.True(t, remove("k", "v"))
	requireMissing(t, s, "k")
	require.False(t, remove("k", "v"))
	ok, err := kv.DeleteIf(t.Context(), s, "k", nil)
	require.NoError(t, err)
	require.False(t, ok, "nil equals the empty value, not a missing key")
}

func expiresIf(t *testing.T, s kv.Store) {
	expire := func(key, old string, ttl time.Duration) bool {
		t.Helper()
		ok, err := kv.ExpireIf(t.Context(), s, key, []byte(old), ttl)
		require.NoError(t, err)
		return ok
	}
	require.False(t, expire("k", "", time.Hour))
	requireMissing(t, s, "k")
	mustSet(t, s, "k", []byte("v"))
	require.False(t, expire("k", "w", time.Hour))
	requireTTL(t, s, "k", 0)
	for _, ttl := range []time.Duration{time.Hour, time.Minute, 0, 2 * time.Hour} {
		require.True(t, expire("k", "v", ttl))
		requireTTL(t, s, "k", ttl)
		requireValue(t, s, "k", []byte("v"))
	}
	require.True(t, expire("k", "v", 30*time.Millisecond))
	time.Sleep(30*time.Millisecond + tolerance)
	requireMissing(t, s, "k")
	_, err := kv.ExpireIf(t.Context(), s, "k", []byte("v"), -1)
	require.ErrorIs(t, err, kv.ErrInvalidTTL)
}
