package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func TestBatchesOfValues(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		var items []cache.Item
		var keys []string
		for i := range 300 {
			item := cache.Item{
				Key: fmt.Sprint("k", i), Value: bytes.Repeat([]byte{byte(i)}, i*7), Class: classify.All[i%5], TTL: time.Hour,
				Context: map[string]string{"i": fmt.Sprint(i)},
			}
			items, keys = append(items, item), append(keys, item.Key)
		}
		require.NoError(t, c.SetMany(ctx, items))
		require.NoError(t, kv.Set(ctx, store, stored("k7"), []byte("altered"), 0))
		results, err := c.GetMany(ctx, append(keys, "missing"))
		require.NoError(t, err)
		require.Len(t, results, 301)
		for i, item := range items {
			if i == 7 {
				require.ErrorIs(t, results[i].Err, envelope.ErrAuthentication)
				continue
			}
			require.NoError(t, results[i].Err)
			require.True(t, bytes.Equal(item.Value, results[i].Value))
			require.Equal(t, item.Class, results[i].Class)
			require.Equal(t, item.Context, results[i].Context)
		}
		require.ErrorIs(t, results[300].Err, cache.ErrNotFound)
		results, err = c.GetMany(ctx, keys[:5], cache.MinClass(classify.PHI))
		require.NoError(t, err)
		require.ErrorIs(t, results[0].Err, classify.ErrTooLow)
		require.NoError(t, results[4].Err)
		n, err := c.DeleteMany(ctx, append(keys[:10:10], "missing"))
		require.NoError(t, err)
		require.Equal(t, 10, n)

		err = c.SetMany(ctx, []cache.Item{{Key: "first", Class: classify.PHI}, {Key: "second", Class: classify.PHI, TTL: 48 * time.Hour}})
		require.ErrorIs(t, err, cache.ErrTTL)
		require.ErrorContains(t, err, "item 1")
		found, err := c.Exists(ctx, "first")
		require.NoError(t, err)
		require.False(t, found)
		require.NoError(t, c.SetMany(ctx, nil))
		results, err = c.GetMany(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, results)
	})
}

func TestConcurrentSetAndGet(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		c := cache.New(store, sealer("tenant"))
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 50 {
					key, value := fmt.Sprint("k", g), bytes.Repeat([]byte{byte(g)}, 100+i)
					if err := c.SetEncrypted(t.Context(), key, value, classify.PHI); err != nil {
						t.Error(err)
						return
					}
					if got, err := c.GetDecrypted(t.Context(), key); err != nil || !bytes.Equal(value, got) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Wrap uses the client of the caller and does not close it.
func TestWrapUsesTheClient(t *testing.T) {
	client := redistest.Start(t).Client(t)
	var universal redis.UniversalClient = client
	c := cache.Wrap(universal, sealers(t)("tenant"), cache.WithMaxTTL(classify.PHI, time.Hour))
	require.NoError(t, c.SetEncrypted(t.Context(), "patient:1", []byte("value"), classify.PHI))
	n, err := client.Exists(t.Context(), stored("patient:1")).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.NoError(t, client.LPush(t.Context(), stored("list"), "x").Err())
	_, err = c.GetDecrypted(t.Context(), "list")
	require.ErrorIs(t, err, envelope.ErrAuthentication)
}

func TestStoreUnavailable(t *testing.T) {
	server := redistest.Start(t)
	c := cache.Wrap(server.Client(t), sealers(t)("tenant"))
	require.NoError(t, c.SetEncrypted(t.Context(), "k", []byte("value"), classify.PHI))
	server.Stop()
	require.ErrorIs(t, c.SetEncrypted(t.Context(), "k", []byte("value"), classify.PHI), kv.ErrUnavailable)
	_, err := c.GetDecrypted(t.Context(), "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	_, err = c.Inspect(t.Context(), "k")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	_, err = c.GetMany(t.Context(), []string{"k"})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorIs(t, c.SetMany(context.Background(), []cache.Item{{Key: "k", Class: classify.PHI}}), kv.ErrUnavailable)
}
