package cache_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/internal/sidebyside"
	"github.com/coffer-storage/coffer/server/kv/redistest"
	"github.com/coffer-storage/coffer/shared/classify"
)

// BenchmarkCache measures the encrypted cache against go-redis alone over one redis-server: a write and a read of 1 KiB each, one
// by one, by 64 goroutines, and in pipelines of 100.
func BenchmarkCache(b *testing.B) {
	client := redistest.Start(b).Client(b)
	c := cache.Wrap(client, sealers(b)("tenant"))
	value := make([]byte, 1024)
	_, _ = rand.Read(value)
	raw := func(key string) error {
		if err := client.Set(context.Background(), key, value, time.Hour).Err(); err != nil {
			return err
		}
		_, err := client.Get(context.Background(), key).Bytes()
		return err
	}
	ours := func(key string) error {
		if err := c.SetEncrypted(context.Background(), key, value, classify.PHI, time.Hour, nil); err != nil {
			return err
		}
		_, err := c.GetDecrypted(context.Background(), key)
		return err
	}
	b.Run("one", func(b *testing.B) {
		sidebyside.Run(b, func() error { return raw("raw") }, func() error { return ours("ours") })
	})
	b.Run("64", func(b *testing.B) {
		sidebyside.Run(b, func() error { return by64(raw) }, func() error { return by64(ours) })
	})
	b.Run("pipeline", func(b *testing.B) {
		sidebyside.Run(b, rawPipeline(client, value), pipeline(c, value))
	})
	require.NoError(b, ours("k"))
}

// by64 makes 64 goroutines do f 16 times each.
func by64(f func(key string) error) error {
	var wg sync.WaitGroup
	failed := make([]error, 64)
	for g := range failed {
		wg.Go(func() {
			key := fmt.Sprint("key ", g)
			for range 16 {
				failed[g] = errors.Join(failed[g], f(key))
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

const pipelined = 100

func rawPipeline(client *redis.Client, value []byte) func() error {
	keys := benchmarkKeys("raw")
	return func() error {
		ctx, pipe := context.Background(), client.Pipeline()
		for _, key := range keys {
			pipe.Set(ctx, key, value, time.Hour)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		pipe = client.Pipeline()
		replies := make([]*redis.StringCmd, len(keys))
		for i, key := range keys {
			replies[i] = pipe.Get(ctx, key)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for _, reply := range replies {
			if _, err := reply.Bytes(); err != nil {
				return err
			}
		}
		return nil
	}
}

func pipeline(c *cache.Cache, value []byte) func() error {
	keys := benchmarkKeys("ours")
	items := make([]cache.Item, pipelined)
	for i, key := range keys {
		items[i] = cache.Item{Key: key, Value: value, Class: classify.PHI, TTL: time.Hour}
	}
	return func() error {
		if err := c.SetMany(context.Background(), items); err != nil {
			return err
		}
		results, err := c.GetMany(context.Background(), keys)
		if err != nil {
			return err
		}
		for i := range results {
			if results[i].Err != nil {
				return results[i].Err
			}
		}
		return nil
	}
}

func benchmarkKeys(prefix string) []string {
	keys := make([]string, pipelined)
	for i := range keys {
		keys[i] = fmt.Sprint(prefix, " patient:", i)
	}
	return keys
}
