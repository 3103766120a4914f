package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// While several processes rotate a tenant, every read returns the last written value, and entries expire on time.
func TestReadsSeeLastWriteDuringRotation(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) kv.Store{
		"redis":   func(t *testing.T) kv.Store { return rediskv.New(redistest.Start(t).Client(t)) },
		"cluster": func(t *testing.T) kv.Store { return rediskv.New(redistest.StartCluster(t, 3)) },
		"embedded": func(t *testing.T) kv.Store {
			store, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			return store
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testUnderLoad(t, open(t))
		})
	}
}

// counter is an entry with one writer and many readers.
type counter struct {
	key     string
	class   classify.Class
	written atomic.Int64 // the last acknowledged value
}

func testUnderLoad(t *testing.T, store kv.Store) {
	const n, entries = 3, 1000
	keys := t.TempDir()
	sites := make([]*site, n) // one for each process
	for i := range sites {
		sites[i] = newSite(t, directory(t, keys), store, nil)
	}
	sites[0].fill(entries)
	filled := time.Now()
	counters := make([]*counter, 60)
	for i := range counters {
		counters[i] = &counter{key: fmt.Sprint("counter ", i), class: classify.All[i%len(classify.All)]}
		require.NoError(t, counters[i].write(t.Context(), sites[0]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var operations atomic.Int64
	for i, s := range sites {
		load.Go(func() { // writes a third of the counters, and reads all counters and entries
			for ctx.Err() == nil {
				c := counters[rand.IntN(len(counters)/n)*n+i]
				assert.NoError(t, c.write(t.Context(), s))
				assert.NoError(t, counters[rand.IntN(len(counters))].read(t.Context(), s))
				e := rand.IntN(entries)
				value, err := s.cache.GetDecrypted(t.Context(), fmt.Sprint("entry ", e))
				assert.NoError(t, err)
				assert.Equal(t, fmt.Sprint("value ", e), string(value))
				operations.Add(3)
			}
		})
	}
	for range 3 {
		before := operations.Load()
		rotateConcurrently(t, sites)
		require.Greater(t, operations.Load(), before, "there was load during the rotation")
	}
	cancel()
	load.Wait()
	require.Equal(t, entries, sites[0].entriesUnderPrimary(entries))
	sites[1].requireReadable(entries)
	for i := range entries {
		left, err := sites[2].cache.TTL(t.Context(), fmt.Sprint("entry ", i))
		require.NoError(t, err)
		require.InDelta(t, time.Hour-time.Since(filled), left, float64(time.Minute))
	}
}

// rotateConcurrently begins a rotation in all processes at the same time and completes it.
func rotateConcurrently(t *testing.T, sites []*site) {
	t.Helper()
	before := sites[0].primaries()
	epoch := sites[0].epochs()
	var begin, work sync.WaitGroup
	for _, s := range sites {
		begin.Go(func() {
			_, err := s.Begin(t.Context(), "tenant", rotation.Order{})
			assert.NoError(t, err)
		})
	}
	begin.Wait()
	for _, s := range sites {
		work.Go(func() {
			for {
				_, err := s.RunPending(t.Context())
				record, e := s.Record(t.Context(), "tenant")
				if !assert.NoError(t, errors.Join(err, e)) || !record.NeedsReencryption() {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	work.Wait()
	for class, id := range sites[0].primaries() {
		require.NotEqual(t, before[class], id)
	}
	for class, e := range sites[0].epochs() {
		require.Equal(t, epoch[class]+1, e, "one new primary")
	}
}

func (c *counter) write(ctx context.Context, s *site) error {
	next := c.written.Load() + 1
	err := s.cache.SetEncrypted(ctx, c.key, []byte(strconv.FormatInt(next, 10)), c.class, cache.TTL(time.Hour))
	if err == nil {
		c.written.Store(next)
	}
	return err
}

func (c *counter) read(ctx context.Context, s *site) error {
	acknowledged := c.written.Load()
	value, err := s.cache.GetDecrypted(ctx, c.key)
	if err != nil {
		return err
	}
	if got, err := strconv.ParseInt(string(value), 10, 64); err != nil || got < acknowledged {
		return fmt.Errorf("read %q where %d was written", value, acknowledged)
	}
	return nil
}

// epochs returns the epoch of each class's keyset of the cache.
func (s *site) epochs() map[classify.Class]uint32 {
	s.t.Helper()
	d, err := s.Keyring.Document(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	all := map[classify.Class]uint32{}
	for _, set := range d.Keysets {
		if set.Use == format.UseCache {
			all[set.Class] = set.Epoch()
		}
	}
	return all
}

// If many processes with one Redis begin a rotation at the same time, each keyset gets one new primary.
func TestConcurrentBeginMakesOnePrimary(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var sites []*site
	for range 8 {
		client := server.Client(t)
		sites = append(sites, newSite(t, rediskeys.New(client), rediskv.New(client), nil))
	}
	sites[0].fill(200)
	for range 3 {
		rotateConcurrently(t, sites)
	}
	sites[0].requireReadable(200)
}
