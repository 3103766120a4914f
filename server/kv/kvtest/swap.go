package kvtest

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func swaps(t *testing.T, s kv.Store) {
	swap := func(key, old, value string) bool {
		t.Helper()
		ok, err := s.CompareAndSwap(t.Context(), key, []byte(old), []byte(value))
		require.NoError(t, err)
		return ok
	}
	require.False(t, swap("none", "", "v"), "a missing key does not equal the empty value")
	requireMissing(t, s, "none")
	mustSet(t, s, "k", []byte("one"))
	require.False(t, swap("k", "two", "three"))
	require.False(t, swap("k", "on", "three"))
	require.False(t, swap("k", "one\x00", "three"))
	requireValue(t, s, "k", []byte("one"))
	require.True(t, swap("k", "one", "two"))
	requireValue(t, s, "k", []byte("two"))
	require.True(t, swap("k", "two", "two"))
	require.True(t, swap("k", "two", ""))
	requireValue(t, s, "k", nil)
	require.True(t, swap("k", "", "\x00\xff\r\n"))
	require.True(t, swap("k", "\x00\xff\r\n", "end"))
	requireValue(t, s, "k", []byte("end"))
	require.True(t, swap("k", "end", "10"), "a value that looks like a number")
	require.False(t, swap("k", "10.0", "x"))
	require.True(t, swap("k", "10", "x"))
}

func swapKeepsTTL(t *testing.T, s kv.Store) {
	ctx := t.Context()
	const d = 600 * time.Millisecond
	mustSet(t, s, "forever", []byte("a"))
	require.NoError(t, s.Set(ctx, "hour", []byte("a"), time.Hour))
	require.NoError(t, s.Set(ctx, "k", []byte("a"), d))
	set := time.Now()
	time.Sleep(d / 3)
	for _, key := range []string{"k", "hour", "forever"} {
		ok, err := s.CompareAndSwap(ctx, key, []byte("a"), []byte("b"))
		require.NoError(t, err)
		require.True(t, ok)
	}
	requireTTL(t, s, "hour", time.Hour)
	requireTTL(t, s, "forever", 0)
	requireValue(t, s, "k", []byte("b"))
	left, ok, err := s.TTL(ctx, "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.LessOrEqual(t, left, d-d/3+tolerance)
	time.Sleep(time.Until(set.Add(d + tolerance)))
	requireMissing(t, s, "k")
}

func swapContention(t *testing.T, s kv.Store) {
	const workers, rounds = 16, 25
	require.NoError(t, s.Set(t.Context(), "counter", []byte("0"), time.Hour))
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() { errs <- increments(t, s, rounds) })
	}
	wg.Wait()
	for range workers {
		require.NoError(t, <-errs)
	}
	requireValue(t, s, "counter", []byte(strconv.Itoa(workers*rounds)))
	requireTTL(t, s, "counter", time.Hour)
}

func increments(t *testing.T, s kv.Store, rounds int) error {
	for done := 0; done < rounds; {
		old, _, err := s.Get(t.Context(), "counter")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(old))
		if err != nil {
			return err
		}
		ok, err := s.CompareAndSwap(t.Context(), "counter", old, []byte(strconv.Itoa(n+1)))
		if err != nil {
			return err
		}
		if ok {
			done++
		}
	}
	return nil
}
