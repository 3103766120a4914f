package rotation_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// memoryTracker is a store that measures the values in transit to and from it.
type memoryTracker struct {
	kv.Store
	held, most, longest atomic.Int64
}

func (w *memoryTracker) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	all, err := w.Store.Read(ctx, keys, limit)
	for _, one := range all {
		if n := int64(len(one.Value)); n > w.longest.Load() {
			w.longest.Store(n)
		}
	}
	return all, err
}

func (w *memoryTracker) Topology(ctx context.Context) (kv.Topology, error) {
	return w.Store.(kv.Sweeper).Topology(ctx)
}

func (w *memoryTracker) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	return w.Store.(kv.Sweeper).SweepPage(ctx, part, prefix, cursor, limit)
}

func (w *memoryTracker) Write(ctx context.Context, swaps []kv.Write) ([]bool, error) {
	if swaps[0].If != kv.Equals { // not a write of a sweep
		return w.Store.Write(ctx, swaps)
	}
	n := int64(0)
	for _, s := range swaps {
		n += int64(len(s.Old) + len(s.Value))
	}
	held := w.held.Add(n)
	defer w.held.Add(-n)
	for most := w.most.Load(); held > most && !w.most.CompareAndSwap(most, held); most = w.most.Load() {
	}
	time.Sleep(time.Millisecond) // so that calls overlap
	return w.Store.Write(ctx, swaps)
}

const kilobyte = 1 << 10

// newMemoryTrackedSite returns a site with 40 entries of 100 KiB and 200 entries of 10 KiB.
func newMemoryTrackedSite(t *testing.T, all int64) (*site, *memoryTracker, *limit.Memory) {
	inner, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inner.Close()) })
	store, memory := &memoryTracker{Store: inner}, limit.NewMemory(all, 0)
	s := newSite(t, directory(t, t.TempDir()), store, func(o *rotation.Options) { o.Memory = memory })
	for i := range 240 {
		value := bytes.Repeat([]byte{byte(i)}, 10*kilobyte)
		if i%6 == 0 {
			value = bytes.Repeat(value, 10)
		}
		require.NoError(t, s.cache.SetMany(t.Context(), []cache.Item{{Key: fmt.Sprint(i), Value: value, Class: classify.PHI}}))
	}
	s.begin(rotation.Order{})
	return s, store, memory
}

// The entries that are re-encrypted at the same time use at most half of the memory, and all of it is released.
func TestSweepUsesHalfOfMemory(t *testing.T) {
	t.Parallel()
	s, store, memory := newMemoryTrackedSite(t, 800*kilobyte)
	s.runAll()
	require.Equal(t, rotation.Counts{Scanned: 240, Reencrypted: 240}, s.sweep().Counts())
	require.LessOrEqual(t, store.most.Load(), int64(400*kilobyte))
	require.Greater(t, store.longest.Load(), int64(100*kilobyte))
	require.NoError(t, memory.Reserve("tenant", 800*kilobyte))

	memory.Release("tenant", 800*kilobyte)
	store.longest.Store(0)
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.runAll().State)
	require.LessOrEqual(t, store.longest.Load(), int64(kilobyte), "a sweep reads only the headers of entries that are not due")
}

// While requests use all memory, a sweep waits, and continues as soon as memory is released.
func TestSweepWaitsForMemory(t *testing.T) {
	t.Parallel()
	s, store, memory := newMemoryTrackedSite(t, 1600*kilobyte)
	require.NoError(t, memory.Reserve("tenant", 1600*kilobyte))
	worked := make(chan *rotation.Record)
	go func() { worked <- s.runAll() }()
	time.Sleep(100 * time.Millisecond)
	require.Zero(t, store.most.Load())
	memory.Release("tenant", 1600*kilobyte)
	require.NoError(t, memory.Reserve("tenant", 800*kilobyte), "half is reserved for requests")
	require.Equal(t, 240, (<-worked).Counts.Reencrypted)
	memory.Release("tenant", 800*kilobyte)
}

// An entry that grew after its size was read is not read before its memory is reserved.
func TestGrownEntryReservesItsMemory(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(5)
	var sealed []cache.Sealed // under the former key
	for _, size := range []int{20 << 10, 30 << 10} {
		one, err := s.cache.Seal(t.Context(), nil, &cache.Item{Key: "entry 4", Value: make([]byte, size), Class: classify.PHI})
		require.NoError(t, err)
		sealed = append(sealed, one)
	}
	grown := &growingCache{faultyCache: store, grow: func(n int) {
		require.NoError(t, s.cache.Put(t.Context(), &sealed[n], cache.Condition{}))
	}}
	s = newSite(t, s.Keystore, grown, nil)
	s.begin(rotation.Order{})
	s.runAll()
	require.Equal(t, 5, s.sweep().Counts().Reencrypted)
	require.Equal(t, []int{16 << 10, 20<<10 + 200, 30<<10 + 200}, grown.rounded())
}

// growingCache is a store in which an entry grows before each read.
type growingCache struct {
	*faultyCache
	grow   func(n int)
	limits []int
}

func (g *growingCache) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	if limit <= 512 {
		return g.faultyCache.Read(ctx, keys, limit) // reads of headers
	}
	g.limits = append(g.limits, limit)
	if n := len(g.limits); n < 3 {
		g.grow(n - 1)
	}
	return g.faultyCache.Read(ctx, keys, limit)
}

// rounded returns the limits of the reads. It rounds limits that include a header down to KiB.
func (g *growingCache) rounded() (all []int) {
	for _, limit := range g.limits {
		if limit%kilobyte != 0 {
			limit = limit/kilobyte*kilobyte + 200
		}
		all = append(all, limit)
	}
	return all
}
