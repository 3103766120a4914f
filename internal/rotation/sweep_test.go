package rotation_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// countingStore is a store that counts the calls of a sweep.
type countingStore struct {
	kv.Store
	listed, read, swapped atomic.Int64
}

func (c *countingStore) Topology(ctx context.Context) (kv.Topology, error) {
	return c.Store.(kv.Sweeper).Topology(ctx)
}

func (c *countingStore) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	keys, next, err := c.Store.(kv.Sweeper).SweepPage(ctx, part, prefix, cursor, limit)
	c.listed.Add(int64(len(keys)))
	return keys, next, err
}

func (c *countingStore) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	c.read.Add(int64(len(keys)))
	return c.Store.Read(ctx, keys, limit)
}

func (c *countingStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	c.swapped.Add(int64(len(writes)))
	return c.Store.Write(ctx, writes)
}

// One sweep serves all tenants. It visits each entry once, however many tenants are rotated, and does not unlock the
// keys of tenants that are not rotated.
func TestOneSweepServesAllTenants(t *testing.T) {
	t.Parallel()
	const tenants = 1000
	server := redistest.Start(t)
	store := &countingStore{Store: rediskv.New(server.Client(t))}
	s := newSite(t, rediskeys.New(redistest.Start(t).Client(t)), store, nil)
	name := func(i int) string { return fmt.Sprint("tenant ", i) }
	for i := range tenants {
		tenant, err := s.Keyring.Tenant(t.Context(), name(i))
		require.NoError(t, err)
		require.NoError(t, cache.New(store, seal.NewSealer(tenant)).SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
	}
	listing := func() int64 { // number of calls for one scan of the store
		before := store.listed.Load()
		for cursor := ""; ; {
			_, next, err := store.SweepPage(t.Context(), "redis", kv.TenantPrefix, cursor, 1000)
			require.NoError(t, err)
			if cursor = next; cursor == "" {
				return store.listed.Swap(0) - before
			}
		}
	}
	all := listing()
	rotate := func(n int) {
		for i := range n {
			_, err := s.Begin(t.Context(), name(i), rotation.Order{})
			require.NoError(t, err)
		}
		store.listed.Store(0)
		store.read.Store(0)
		store.swapped.Store(0)
		number := s.sweep().Number
		s.runAll()
		if number > 0 {
			require.Equal(t, number+1, s.sweep().Number, "one sweep")
		}
		require.Equal(t, all, store.listed.Load(), "of %d tenants", n)
		require.EqualValues(t, n, store.swapped.Load())
		require.Equal(t, all+int64(n), store.read.Load(), "each entry once, and those that are due once more")
	}
	rotate(1)
	rotate(tenants)
	require.Equal(t, map[rotation.State]int{rotation.Grace: tenants}, s.sweep().States)
	require.Empty(t, s.sweep().Fault)
}

// Several servers share a sweep of a cluster in which each step takes several times the duration of a lease. The sweep
// ends, and each part is done by one server.
func TestServersShareSlowSweep(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(100)
	s.begin(rotation.Order{})
	var others []*site
	for range 6 {
		others = append(others, newSite(t, s.Keystore, store, nil))
	}
	s.SetLease(300 * time.Millisecond)
	for _, other := range others {
		other.SetLease(300 * time.Millisecond)
	}
	var inPart, most atomic.Int64
	store.page = func() { // a page takes as long as three leases
		if n := inPart.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(900 * time.Millisecond)
		inPart.Add(-1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var servers sync.WaitGroup
	for _, one := range append(others, s) {
		one.SetPollInterval(10 * time.Millisecond)
		servers.Go(func() { one.Serve(ctx, slog.New(slog.DiscardHandler)) })
	}
	require.Eventually(t, func() bool { return s.reached(rotation.Grace)() }, time.Minute, 20*time.Millisecond)
	cancel()
	servers.Wait()
	require.EqualValues(t, 1, most.Load(), "no other server took over the part")
	require.EqualValues(t, 1, store.sweepsBegun.Load(), "no server began the part again")
	require.Equal(t, 100, s.entriesUnderPrimary(100))
}

// The lease of a server that was killed in the middle of a part expires, whatever its clock showed, and another server
// continues.
func TestLeaseOfKilledServerExpires(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			s, store := newFaultySite(t, nil)
			s.fill(300)
			killed := newSite(t, s.Keystore, store, nil)
			killed.clock.advance(ahead)
			s.begin(rotation.Order{})
			number := s.sweep().Number
			ctx, cancel := context.WithCancel(t.Context())
			store.page = func() { store.page = nil; cancel() }
			_, err := killed.RunPending(ctx)
			require.Error(t, err)
			require.True(t, s.sweep().Running())
			require.NotEqual(t, number, s.sweep().Number)
			s.clock.stop()
			require.Equal(t, rotation.Reencrypting, s.runAll().State, "the lease has not expired yet")
			s.clock.advance(14 * time.Second)
			require.Equal(t, rotation.Reencrypting, s.runAll().State)
			s.clock.advance(time.Second)
			require.Equal(t, rotation.Grace, s.runAll().State)
			require.Equal(t, 300, s.entriesUnderPrimary(300))
		})
	}
}

// Whatever makes a sweep incomplete, the former keys are kept and another sweep follows.
func TestIncompleteSweepKeepsKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(store *faultyCache)
		says  string
	}{
		"topology changes in a page": {func(f *faultyCache) {
			f.page = func() { id := "another"; f.topology.Store(&id) }
		}, "topology"},
		"a slot migrates": {func(f *faultyCache) { f.moving.Store(true) }, "a slot is migrating"},
		"the store fails": {func(f *faultyCache) { f.broken.Store(true) }, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, store := newFaultySite(t, nil)
			s.SetRetryWait(time.Millisecond)
			s.fill(250)
			s.begin(rotation.Order{})
			s.runAll()
			s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
			last := s.sweep().LastComplete
			c.spoil(store)
			for range 5 {
				_, _ = s.RunPending(t.Context())
			}
			sweep := s.sweep()
			require.Contains(t, sweep.Fault, c.says)
			require.NotContains(t, sweep.Fault, "10.1.2.3", "the error is only logged")
			require.False(t, sweep.Running())
			require.Equal(t, last, sweep.LastComplete)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
			store.page = nil
			store.moving.Store(false)
			store.broken.Store(false)
			s.runAll()
			require.Equal(t, sweep.Number, s.sweep().Number, "not immediately")
			s.clock.advance(2 * time.Minute)
			require.Equal(t, rotation.Done, s.runAll().State)
			s.requireReadable(250)
		})
	}
}

// An expired cursor restarts the part. Findings from before are kept.
func TestExpiredCursorRestartsPart(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(600)
	stale := s.prepareLateWrite("entry 1", "value 1")
	s.begin(rotation.Order{})
	s.runAll()
	stale()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	begun := store.sweepsBegun.Load()
	store.cursor.Store(true)
	require.Equal(t, rotation.Done, s.runAll().State)
	require.False(t, store.cursor.Load())
	require.Equal(t, first+3, s.sweep().Number, "the first sweep found an entry")
	require.EqualValues(t, 4, store.sweepsBegun.Load()-begun, "one part started again")
	s.requireReadable(600)
}

// If a process is killed after it re-encrypted an entry under a former key, and before its next checkpoint, the sweep
// still counts as having found the entry.
func TestFindingIsSavedBeforeReencryption(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(10)
	stale := s.prepareLateWrite("entry 3", "value 3")
	s.begin(rotation.Order{})
	s.runAll()
	stale()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	ctx, cancel := context.WithCancel(t.Context())
	store.after = cancel
	for ctx.Err() == nil {
		_, _ = s.RunPending(ctx)
	}
	store.after = nil
	require.True(t, s.sweep().Running())
	require.Equal(t, 10, s.entriesUnderPrimary(10))
	require.Equal(t, rotation.Done, s.runAll().State)
	require.Equal(t, first+3, s.sweep().Number, "the first sweep found an entry")
	s.requireReadable(10)
}

// A sweep that a server with a clock one minute ahead began does not count: other servers may still seal under the
// former keys, or their writes may not have reached the store.
func TestSweepByClockAheadDoesNotCount(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	stale := s.prepareLateWrite("entry 3", "value 3")
	ahead := newSite(t, s.Keystore, s.Store, nil)
	ahead.clock.advance(time.Minute)
	s.begin(rotation.Order{Compromised: true})
	s.runAll()
	for _, one := range []*site{s, ahead} {
		one.clock.advance(s.Keyring.TTL())
	}
	ahead.runAll()
	require.Equal(t, classes, s.states(format.UseCache)[envelope.Compromised], "%+v", ahead.sweep())
	stale()
	require.Equal(t, 9, s.entriesUnderPrimary(10))
	for _, one := range []*site{s, ahead} {
		one.clock.advance(2 * time.Hour)
	}
	require.Equal(t, rotation.Done, ahead.runAll().State)
	s.requireReadable(10)
}

// A clock that was decades ahead for a while delays neither the rotation that began then nor the next sweep.
func TestClockAheadDelaysNothingAfterCorrection(t *testing.T) {
	t.Parallel()
	const decades = 70 * 365 * 24 * time.Hour
	ends := func(t *testing.T, s *site) {
		t.Helper()
		require.NotEqual(t, rotation.Done, s.runAll().State)
		require.Equal(t, 10, s.entriesUnderPrimary(10))
		for range 3 {
			s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
			s.runAll()
		}
		require.Equal(t, rotation.Done, s.record().State)
		s.requireReadable(10)
	}
	t.Run("when a rotation began", func(t *testing.T) {
		t.Parallel()
		s := newLocalSite(t, nil)
		s.fill(10)
		s.clock.advance(decades)
		s.begin(rotation.Order{})
		s.clock.advance(-decades)
		ends(t, s)
	})
	t.Run("when a sweep failed", func(t *testing.T) {
		t.Parallel()
		s, store := newFaultySite(t, nil)
		s.SetRetryWait(time.Millisecond)
		s.fill(10)
		s.begin(rotation.Order{})
		s.clock.advance(decades)
		store.broken.Store(true)
		for s.sweep().Ended == 0 {
			_, _ = s.RunPending(t.Context())
		}
		require.NotEmpty(t, s.sweep().Fault)
		store.broken.Store(false)
		s.clock.advance(-decades)
		ends(t, s)
	})
}

// Sweeps that ran while a tenant's keysets were missing could not judge its entries. They do not count once the keysets
// are restored.
func TestSweepsWithoutKeysetsDoNotCount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newLocalSiteIn(t, dir, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	content, err := s.Keystore.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	keystoretest.DeleteSilently(t, dir, keystore.Keysets, "tenant")
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	for range 20 {
		_, _ = s.RunPending(t.Context())
	}
	require.NotZero(t, s.sweep().LastComplete)
	swapped, err := s.Keystore.Swap(t.Context(), keystore.Keysets, "tenant", nil, content, 0)
	require.NoError(t, err)
	require.True(t, swapped)
	for range 5 {
		s.clock.advance(2 * time.Hour)
		s.runAll()
		s.requireReadable(10)
	}
	require.Equal(t, rotation.Done, s.record().State)
}

// A tenant whose keysets or entries cannot be read does not make the sweep incomplete for others.
func TestUnreadableTenantKeepsSweepComplete(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.SetRetryWait(time.Millisecond)
	s.fill(10)
	other, err := s.Keyring.Tenant(t.Context(), "damaged")
	require.NoError(t, err)
	require.NoError(t, cache.New(store, seal.NewSealer(other)).SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
	s.begin(rotation.Order{})
	_, err = s.Begin(t.Context(), "damaged", rotation.Order{})
	require.NoError(t, err)
	content, err := s.Keystore.Get(t.Context(), keystore.Keysets, "damaged")
	require.NoError(t, err)
	_, err = s.Keystore.Swap(t.Context(), keystore.Keysets, "damaged", content, []byte("damaged"), 0)
	require.NoError(t, err)
	s.runAll()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	for did := true; did; {
		if did, err = s.RunPending(t.Context()); err != nil {
			require.ErrorContains(t, err, `tenant "damaged"`)
			require.Equal(t, 1, strings.Count(err.Error(), "tenant"))
		}
	}
	require.Equal(t, rotation.Done, s.record().State)
	require.Empty(t, s.sweep().Fault)
	record, err := s.Record(t.Context(), "damaged")
	require.NoError(t, err)
	require.Equal(t, rotation.Retiring, record.State)
	require.Equal(t, s.sweep().Number, record.UnreadableIn)
}

// A failover makes the sweep incomplete even if the store does not announce it.
func TestFailoverMakesSweepIncomplete(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	service := redistest.NewFailoverAddress(t, master)
	store := &faultyCache{Store: rediskv.New(service.Client())}
	s := newSite(t, directory(t, t.TempDir()), store, nil)
	s.fill(600)
	s.begin(rotation.Order{})
	s.runAll()
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	swept := s.sweep().LastComplete
	store.page = func() {
		store.page = nil
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		service.FailOver(replica)
	}
	require.Equal(t, rotation.Retiring, s.runAll().State)
	require.Contains(t, s.sweep().Fault, "topology")
	require.Equal(t, swept, s.sweep().LastComplete)
	s.clock.advance(2 * time.Minute)
	require.Equal(t, rotation.Done, s.runAll().State)
	s.requireReadable(600)
}
