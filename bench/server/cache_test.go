package server

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	goroutines = 64
	pipeline   = 100
	ttl        = time.Hour
)

// BenchmarkCache compares the encrypted cache with the go-redis client that it wraps, configured as in the README, over a
// real Redis. Values have 1 KiB, and there are as many reads as writes.
func BenchmarkCache(b *testing.B) {
	server := redistest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, PoolSize: goroutines, ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = client.Close() })
	raw := rawCache{b, client, newValue(1 << 10)}
	ours := ourCache{b, cache.Wrap(client, newSealer(b)), raw.value}
	b.Run("OneByOne", func(b *testing.B) {
		compare(b, each(func() error { return raw.setGet("raw") }), each(func() error { return ours.setGet("ours") }))
	})
	b.Run("Goroutines", func(b *testing.B) { compare(b, concurrently(raw.setGet, "raw"), concurrently(ours.setGet, "ours")) })
	b.Run("Pipelines", func(b *testing.B) {
		rawKeys, ourKeys := keys("raw"), keys("ours")
		compare(b, each(func() error { return raw.setGetMany(rawKeys) }), each(func() error { return ours.setGetMany(ourKeys) }))
	})
}

// concurrently divides n operations among the goroutines. Each goroutine uses its own key.
func concurrently(f func(key string) error, prefix string) run {
	return func(n int) error {
		var wg sync.WaitGroup
		errs := make(chan error, goroutines)
		for i := range goroutines {
			wg.Go(func() {
				key := fmt.Sprint(prefix, i)
				for j := i; j < n; j += goroutines {
					if err := f(key); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		return <-errs
	}
}

func keys(prefix string) []string {
	all := make([]string, pipeline)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

// rawCache is a cache without encryption, written directly with go-redis.
type rawCache struct {
	b      *testing.B
	client *redis.Client
	value  []byte
}

func (c rawCache) setGet(key string) error {
	if err := c.client.Set(c.b.Context(), key, c.value, ttl).Err(); err != nil {
		return err
	}
	_, err := c.client.Get(c.b.Context(), key).Bytes()
	return err
}

func (c rawCache) setGetMany(keys []string) error {
	ctx := c.b.Context()
	sets := c.client.Pipeline()
	for _, key := range keys {
		sets.Set(ctx, key, c.value, ttl)
	}
	if _, err := sets.Exec(ctx); err != nil {
		return err
	}
	gets := c.client.Pipeline()
	replies := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		replies[i] = gets.Get(ctx, key)
	}
	if _, err := gets.Exec(ctx); err != nil {
		return err
	}
	for _, reply := range replies {
		if _, err := reply.Bytes(); err != nil {
			return err
		}
	}
	return nil
}

type ourCache struct {
	b     *testing.B
	cache *cache.Cache
	value []byte
}

func (c ourCache) setGet(key string) error {
	if err := c.cache.SetEncrypted(c.b.Context(), key, c.value, classify.PHI, cache.TTL(ttl)); err != nil {
		return err
	}
	_, err := c.cache.GetDecrypted(c.b.Context(), key)
	return err
}

func (c ourCache) setGetMany(keys []string) error {
	items := make([]cache.Item, len(keys))
	for i, key := range keys {
		items[i] = cache.Item{Key: key, Value: c.value, Class: classify.PHI, TTL: ttl}
	}
	if err := c.cache.SetMany(c.b.Context(), items); err != nil {
		return err
	}
	results, err := c.cache.GetMany(c.b.Context(), keys)
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
