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
		ok, err := kv.CompareAndSwap(t.Context(), s, key, []byte(old), []byte(value))
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
	for d := 600 * time.Millisecond; !swapsWithin(t, s, d); d *= 2 {
		require.Less(t, d, 2*time.Minute, "the entry expires before every swap")
		t.Logf("the entry expired before the swap, after %s", d)
	}
}

// swapsWithin returns false if the machine was so slow that the entry expired before the swap, which proves nothing.
func swapsWithin(t *testing.T, s kv.Store, d time.Duration) bool {
	ctx := t.Context()
	mustSet(t, s, "forever", []byte("a"))
	require.NoError(t, kv.Set(ctx, s, "hour", []byte("a"), time.Hour))
	start := time.Now()
	require.NoError(t, kv.Set(ctx, s, "k", []byte("a"), d))
	set := time.Now()
	time.Sleep(d / 3)
	for _, key := range []string{"hour", "forever", "k"} {
		ok, err := kv.CompareAndSwap(ctx, s, key, []byte("a"), []byte("b"))
		require.NoError(t, err)
		if !ok && key == "k" && time.Since(start) >= d {
			return false
		}
		require.True(t, ok)
	}
	left, ok, err := s.TTL(ctx, "k")
	require.NoError(t, err)
	if !ok && time.Since(start) >= d {
		return false
	}
	require.True(t, ok)
	require.LessOrEqual(t, left, d-d/3+tolerance)
	requireTTL(t, s, "hour", time.Hour)
	requireTTL(t, s, "forever", 0)
	time.Sleep(time.Until(set.Add(d + tolerance)))
	requireMissing(t, s, "k")
	return true
}

// Swaps of a batch are independent of each other, and are made in order.
func swapsMany(t *testing.T, s kv.Store) {
	ctx := t.Context()
	none, err := kv.SwapMany(ctx, s, nil)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, kv.SetMany(ctx, s, []kv.Entry{
		{Key: "a", Value: []byte("1"), TTL: time.Hour}, {Key: "b", Value: []byte("1")}, {Key: "c"}, {Key: "changed", Value: []byte("2")},
	}))
	done, err := kv.SwapMany(ctx, s, []kv.Swap{
		{Key: "a", Old: []byte("1"), Value: []byte("2")},
		{Key: "changed", Old: []byte("1"), Value: []byte("3")},
		{Key: "missing", Old: nil, Value: []byte("3")},
		{Key: "b", Old: []byte("1"), Value: nil},
		{Key: "a", Old: []byte("1"), Value: []byte("3")},
		{Key: "a", Old: []byte("2"), Value: []byte("4")},
		{Key: "c", Old: nil, Value: []byte("\x00\r\n")},
	})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, false, true, false, true, true}, done)
	for key, value := range map[string]string{"a": "4", "b": "", "c": "\x00\r\n", "changed": "2"} {
		requireValue(t, s, key, []byte(value))
	}
	requireMissing(t, s, "missing")
	requireTTL(t, s, "a", time.Hour)
	requireTTL(t, s, "b", 0)

	_, err = kv.SwapMany(ctx, s, []kv.Swap{{Key: "a", Old: []byte("4")}, {Key: "b", Value: make([]byte, kv.MaxValueSize+1)}})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.ErrorContains(t, err, "entry 1")
	requireValue(t, s, "a", []byte("4"))

	large := make([]kv.Swap, 12) // more than a driver puts into one transaction
	for i, key := range numbered("n", len(large)) {
		large[i] = kv.Swap{Key: key, Old: []byte{byte(i)}, Value: randomBytes(4<<20 + i)}
		mustSet(t, s, key, large[i].Old)
	}
	done, err = kv.SwapMany(ctx, s, large)
	require.NoError(t, err)
	for i := range large {
		require.True(t, done[i])
		requireValue(t, s, large[i].Key, large[i].Value)
	}
}

// A value that another client writes concurrently is not overwritten, and the other swaps of the batch are made.
func contendedSwaps(t *testing.T, s kv.Store) {
	const keys, rounds = 20, 50
	names := numbered("n", keys)
	for _, name := range names {
		mustSet(t, s, name, []byte("0"))
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	total := make([]int, 2)
	for w := range total {
		wg.Go(func() {
			for range rounds {
				got, err := kv.GetMany(t.Context(), s, names)
				if err != nil {
					errs <- err
					return
				}
				swaps := make([]kv.Swap, keys)
				for i := range swaps {
					n, _ := strconv.Atoi(string(got[i])) // the sum below detects a value that is not a number
					swaps[i] = kv.Swap{Key: names[i], Old: got[i], Value: []byte(strconv.Itoa(n + 1))}
				}
				made, err := kv.SwapMany(t.Context(), s, swaps)
				if err != nil {
					errs <- err
					return
				}
				total[w] += kv.CountTrue(made)
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	sum := 0
	got, err := kv.GetMany(t.Context(), s, names)
	require.NoError(t, err)
	for _, value := range got {
		n, err := strconv.Atoi(string(value))
		require.NoError(t, err)
		sum += n
	}
	require.Equal(t, total[0]+total[1], sum, "the sum must equal the number of swaps that were made")
}

func swapContention(t *testing.T, s kv.Store) {
	const workers, rounds = 16, 25
	require.NoError(t, kv.Set(t.Context(), s, "counter", []byte("0"), time.Hour))
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() { errs <- incrementCounter(t, s, rounds) })
	}
	wg.Wait()
	for range workers {
		require.NoError(t, <-errs)
	}
	requireValue(t, s, "counter", []byte(strconv.Itoa(workers*rounds)))
	requireTTL(t, s, "counter", time.Hour)
}

func incrementCounter(t *testing.T, s kv.Store, rounds int) error {
	for done := 0; done < rounds; {
		old, _, err := kv.Get(t.Context(), s, "counter")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(old))
		if err != nil {
			return err
		}
		ok, err := kv.CompareAndSwap(t.Context(), s, "counter", old, []byte(strconv.Itoa(n+1)))
		if err != nil {
			return err
		}
		if ok {
			done++
		}
	}
	return nil
}
