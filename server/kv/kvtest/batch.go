package kvtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func batchOrder(t *testing.T, s kv.Store) {
	ctx := t.Context()
	require.NoError(t, kv.SetMany(ctx, s, []kv.Entry{
		{Key: "a", Value: []byte("first"), TTL: time.Minute},
		{Key: "b", Value: []byte("b")},
		{Key: "empty"},
		{Key: "a", Value: []byte("last")},
	}))
	got, err := kv.GetMany(ctx, s, []string{"b", "none", "a", "empty", "b"})
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("b"), nil, []byte("last"), {}, []byte("b")}, got)
	requireTTL(t, s, "a", 0)

	existed, err := kv.DeleteMany(ctx, s, []string{"a", "none", "b", "a"})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, true, false}, existed)
	got, err = kv.GetMany(ctx, s, []string{"a", "b", "empty"})
	require.NoError(t, err)
	require.Equal(t, [][]byte{nil, nil, {}}, got)
}

// A reader of a value that is written and deleted concurrently sees the value or a missing key, never an empty value.
func appearingValue(t *testing.T, s kv.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			err := kv.Set(ctx, s, "hot", []byte("v"), 0)
			if err == nil {
				_, err = kv.Delete(ctx, s, "hot")
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("the concurrent writer failed: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	for range 300 {
		one, err := s.Read(t.Context(), []string{"hot"}, 10)
		require.NoError(t, err)
		require.Equal(t, one[0].Exists(), string(one[0].Value) == "v")
		many, err := s.Read(t.Context(), []string{"hot", "hot", "hot"}, 10)
		require.NoError(t, err)
		for _, one := range many {
			require.Equal(t, one.Value != nil, string(one.Value) == "v")
		}
	}
}

func emptyBatches(t *testing.T, s kv.Store) {
	ctx := t.Context()
	got, err := kv.GetMany(ctx, s, nil)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, kv.SetMany(ctx, s, nil))
	existed, err := kv.DeleteMany(ctx, s, []string{})
	require.NoError(t, err)
	require.Empty(t, existed)
}

func batchTTL(t *testing.T, s kv.Store) {
	require.NoError(t, kv.SetMany(t.Context(), s, []kv.Entry{
		{Key: "none"},
		{Key: "short", TTL: 100 * time.Millisecond},
		{Key: "hour", TTL: time.Hour},
	}))
	requireTTL(t, s, "none", 0)
	requireTTL(t, s, "hour", time.Hour)
	time.Sleep(100*time.Millisecond + tolerance)
	got, err := kv.GetMany(t.Context(), s, []string{"none", "short", "hour"})
	require.NoError(t, err)
	require.Equal(t, [][]byte{{}, nil, {}}, got)
}

// largeBatches writes more entries, and more bytes, than a driver puts into one transaction.
func largeBatches(t *testing.T, s kv.Store) {
	ctx := t.Context()
	keys := numbered("n", 5000)
	entries := make([]kv.Entry, len(keys))
	for i, key := range keys {
		entries[i] = kv.Entry{Key: key, Value: []byte(key)}
	}
	require.NoError(t, kv.SetMany(ctx, s, entries))
	got, err := kv.GetMany(ctx, s, keys)
	require.NoError(t, err)
	for i, key := range keys {
		require.Equal(t, key, string(got[i]))
	}
	existed, err := kv.DeleteMany(ctx, s, keys)
	require.NoError(t, err)
	require.Equal(t, len(keys), kv.CountTrue(existed))

	blob := randomBytes(4 << 20)
	large := make([]kv.Entry, 12)
	for i := range large {
		large[i] = kv.Entry{Key: keys[i], Value: blob[i:]}
	}
	require.NoError(t, kv.SetMany(ctx, s, large))
	for i := range large {
		requireValue(t, s, keys[i], blob[i:])
	}
}

// A batch is done completely although another client writes one of its keys concurrently.
func contendedBatches(t *testing.T, s kv.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := kv.Set(ctx, s, "hot", nil, 0); err != nil && ctx.Err() == nil {
					t.Errorf("the concurrent writer failed: %v", err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	keys := append(numbered("n", 20), "hot")
	for range 100 {
		fill(t, s, keys...)
		existed, err := kv.DeleteMany(t.Context(), s, keys)
		require.NoError(t, err)
		require.GreaterOrEqual(t, kv.CountTrue(existed), 20)
		got, err := kv.GetMany(t.Context(), s, keys[:20])
		require.NoError(t, err)
		require.Equal(t, make([][]byte, 20), got)
	}
}

func badEntry(t *testing.T, s kv.Store) {
	ctx := t.Context()
	err := kv.SetMany(ctx, s, []kv.Entry{{Key: "a"}, {Key: "b", Value: make([]byte, kv.MaxValueSize+1)}})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.ErrorContains(t, err, "entry 1")
	require.ErrorIs(t, kv.SetMany(ctx, s, []kv.Entry{{Key: "a"}, {Key: "b", TTL: -time.Second}}), kv.ErrInvalidTTL)
	requireMissing(t, s, "a")
}
