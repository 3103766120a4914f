package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	rotated = 8000 // entries of 1 KiB: enough to outweigh the start of a rotation, few enough for many rounds
	workers = 4
	window  = 500 * time.Millisecond
	rounds  = 16
)

// counted is a KEK that counts its calls.
type counted struct {
	kms.KEK
	calls atomic.Int64
}

func (c *counted) Wrap(ctx context.Context, key, additional []byte) ([]byte, error) {
	c.calls.Add(1)
	return c.KEK.Wrap(ctx, key, additional)
}

func (c *counted) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	c.calls.Add(1)
	return c.KEK.Unwrap(ctx, wrapped, additional)
}

// rotating is a filled cache with the worker that rotates it.
type rotating struct {
	b       *testing.B
	kek     *counted
	cache   *cache.Cache
	rotator *rotation.Rotator
}

// newRotating fills a cache that is rotated at rate entries per second; 0 means no limit. It also writes as many raw
// entries.
func newRotating(b *testing.B, store kv.Store, rate int) *rotating {
	kek, err := kms.NewLocal(make([]byte, 32))
	require.NoError(b, err)
	r := &rotating{b: b, kek: &counted{KEK: kek}}
	keys, err := sqlitekeys.Open(filepath.Join(b.TempDir(), "keys"))
	require.NoError(b, err)
	ring, err := keyring.New(keys, kms.NewSet(r.kek), "bench")
	require.NoError(b, err)
	b.Cleanup(ring.Close)
	owner, err := ring.Tenant(b.Context(), tenant)
	require.NoError(b, err)
	r.cache = cache.New(store, seal.NewSealer(owner))
	r.rotator = rotation.New(rotation.Options{Keyring: ring, Keystore: keys, Store: store, Audit: unrecorded{}, Rate: rate})
	value := newValue(1 << 10)
	for i := range rotated {
		require.NoError(b, r.cache.SetEncrypted(b.Context(), fmt.Sprint(i), value, classify.PHI, cache.TTL(ttl)))
		require.NoError(b, kv.Set(b.Context(), store, fmt.Sprint("raw", i), value, ttl))
	}
	return r
}

func (r *rotating) begin() error {
	_, err := r.rotator.Begin(r.b.Context(), tenant, rotation.Order{})
	return err
}

// whole rotates and waits until all entries are re-encrypted.
func (r *rotating) whole() error {
	if err := r.begin(); err != nil {
		return err
	}
	for {
		fresh, err := r.work(r.b.Context())
		if err != nil || !fresh {
			return err
		}
	}
}

// work performs the next step of the rotation. It reports whether entries are still under the former keys.
func (r *rotating) work(ctx context.Context) (fresh bool, err error) {
	if _, err := r.rotator.RunPending(ctx); err != nil {
		return true, err
	}
	record, err := r.rotator.Record(ctx, tenant)
	return err != nil || record.NeedsReencryption(), err
}

// rewrite reads and writes back each raw entry, one by one in several goroutines. It is the baseline: a loop without
// encryption and without protection against concurrent writes.
func (r *rotating) rewrite(one func(ctx context.Context, key string) error) run {
	return each(func() error {
		var wg sync.WaitGroup
		errs := make(chan error, workers)
		for w := range workers {
			wg.Go(func() {
				for i := w; i < rotated; i += workers {
					if err := one(r.b.Context(), fmt.Sprint("raw", i)); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		return <-errs
	})
}

// BenchmarkRotation compares a rotation at full rate, in Redis and in the embedded store, with a loop that reads and writes
// the same entries. One operation is a pass over all entries. Load, LoadEmbedded and LoadCluster (three nodes) compare the
// 99th percentile of reads and writes without a rotation with that during a rotation at the default rate. LoadFull does so
// during a rotation at full rate on the same cores.
func BenchmarkRotation(b *testing.B) {
	server := redistest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, PoolSize: goroutines})
	b.Cleanup(func() { _ = client.Close() })
	b.Run("Reencrypt", func(b *testing.B) {
		r := newRotating(b, rediskv.New(client), 0)
		compare(b, r.rewrite(func(ctx context.Context, key string) error {
			value, err := client.Get(ctx, key).Bytes()
			if err != nil {
				return err
			}
			return client.Set(ctx, key, value, redis.KeepTTL).Err()
		}), each(r.whole))
	})
	b.Run("ReencryptEmbedded", func(b *testing.B) {
		store, err := sqlitekv.Open(b.TempDir(), nil)
		require.NoError(b, err)
		b.Cleanup(func() { _ = store.Close() })
		r := newRotating(b, store, 0)
		compare(b, r.rewrite(func(ctx context.Context, key string) error {
			value, _, err := kv.Get(ctx, store, key)
			if err != nil {
				return err
			}
			return kv.Set(ctx, store, key, value, ttl)
		}), each(r.whole))
	})
	require.NoError(b, client.FlushAll(b.Context()).Err())
	b.Run("LoadFull", func(b *testing.B) { newRotating(b, rediskv.New(client), 0).load(b) })
	require.NoError(b, client.FlushAll(b.Context()).Err())
	b.Run("Load", func(b *testing.B) { newRotating(b, rediskv.New(client), rotation.DefaultRate).load(b) })
	b.Run("LoadEmbedded", func(b *testing.B) {
		store, err := sqlitekv.Open(b.TempDir(), nil)
		require.NoError(b, err)
		b.Cleanup(func() { _ = store.Close() })
		newRotating(b, store, rotation.DefaultRate).load(b)
	})
	b.Run("LoadCluster", func(b *testing.B) {
		newRotating(b, rediskv.New(redistest.StartCluster(b, 3)), rotation.DefaultRate).load(b)
	})
}

func (r *rotating) load(b *testing.B) {
	var operations int
	var ratios, before, during []float64
	for i := range rounds {
		var quiet, busy float64
		for _, rotate := range [][2]bool{{false, true}, {true, false}}[i%2] {
			if !rotate {
				p, n := r.percentile(b)
				quiet, operations = p, operations+n
				continue
			}
			require.NoError(b, r.begin())
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for ctx.Err() == nil {
					if fresh, err := r.work(ctx); err == nil && !fresh {
						_ = r.begin()
					}
				}
			}()
			p, n := r.percentile(b)
			busy, operations = p, operations+n
			cancel()
			<-ended
		}
		ratios, before, during = append(ratios, quiet/busy), append(before, quiet), append(during, busy)
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(during), "ours-ns/op")
	b.ReportMetric(median(before), "raw-ns/op")
	b.ReportMetric(float64(r.kek.calls.Load())*1e6/float64(operations), "kms-calls/1e6op")
}

// percentile measures reads and writes of 4 goroutines for a period. It returns their 99th percentile in nanoseconds, and
// their number.
func (r *rotating) percentile(b *testing.B) (p99 float64, n int) {
	value := newValue(1 << 10)
	times := make([][]float64, workers)
	var wg sync.WaitGroup
	failed := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for end := time.Now().Add(window); time.Now().Before(end); {
				key, start, err := fmt.Sprint(rand.IntN(rotated)), time.Now(), error(nil)
				if rand.IntN(4) == 0 {
					err = r.cache.SetEncrypted(b.Context(), key, value, classify.PHI, cache.TTL(ttl))
				} else {
					_, err = r.cache.GetDecrypted(b.Context(), key)
				}
				if err != nil {
					failed <- err
					return
				}
				times[w] = append(times[w], float64(time.Since(start)))
			}
		})
	}
	wg.Wait()
	close(failed)
	require.NoError(b, <-failed)
	all := slices.Concat(times...)
	slices.Sort(all)
	return all[len(all)*99/100], len(all)
}
