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

// counted is a store that counts what a sweep asks of it.
type counted struct {
	kv.Store
	listed, read, swapped atomic.Int64
}

func (c *counted) Topology(ctx context.Context) (kv.Topology, error) {
	return c.Store.(kv.Sweeper).Topology(ctx)
}

func (c *counted) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	keys, next, err := c.Store.(kv.Sweeper).SweepPage(ctx, part, prefix, cursor, limit)
	c.listed.Add(int64(len(keys)))
	return keys, next, err
}

func (c *counted) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	c.read.Add(int64(len(keys)))
	return c.Store.Read(ctx, keys, limit)
}

func (c *counted) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	c.swapped.Add(int64(len(writes)))
	return c.Store.Write(ctx, writes)
}

// One sweep serves all tenants: it visits each entry once, however many tenants are rotated, and unlocks none that is not.
func TestOneSweepServesAll(t *testing.T) {
	t.Parallel()
	const tenants = 1000
	server := redistest.Start(t)
	store := &counted{Store: rediskv.New(server.Client(t))}
	s := newSite(t, rediskeys.New(redistest.Start(t).Client(t)), store, nil)
	name := func(i int) string { return fmt.Sprint("tenant ", i) }
	for i := range tenants {
		tenant, err := s.Keyring.Tenant(t.Context(), name(i))
		require.NoError(t, err)
		require.NoError(t, cache.New(store, seal.NewSealer(tenant)).SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
	}
	listing := func() int64 { // of one SCAN through the store
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
		s.work()
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

// Many servers share a sweep of a cluster. Each phase takes several times as long as a lease lasts, and the sweep ends,
// with each part done by one server.
func TestManyServersAndSlowPhases(t *testing.T) {
	t.Parallel()
	s, store := faultySite(t, nil)
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
	require.Eventually(t, func() bool { return s.came(rotation.Grace)() }, time.Minute, 20*time.Millisecond)
	cancel()
	servers.Wait()
	require.EqualValues(t, 1, most.Load(), "no other server took the part over")
	require.EqualValues(t, 1, store.begun.Load(), "nor began it again")
	require.Equal(t, 100, s.under(100))
}

// A server that was killed in the middle of a part is replaced as soon as its lease is over, whatever its clock said.
func TestKilledHolder(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			s, store := faultySite(t, nil)
			s.fill(300)
			killed := newSite(t, s.Keystore, store, nil)
			killed.clock.pass(ahead)
			s.begin(rotation.Order{})
			number := s.sweep().Number
			ctx, cancel := context.WithCancel(t.Context())
			store.page = func() { store.page = nil; cancel() }
			_, err := killed.RunPending(ctx)
			require.Error(t, err)
			require.True(t, s.sweep().Running())
			require.NotEqual(t, number, s.sweep().Number)
			s.clock.stand()
			require.Equal(t, rotation.Reencrypting, s.work().State, "the other one may be at work")
			s.clock.pass(14 * time.Second)
			require.Equal(t, rotation.Reencrypting, s.work().State)
			s.clock.pass(time.Second)
			require.Equal(t, rotation.Grace, s.work().State)
			require.Equal(t, 300, s.under(300))
		})
	}
}

// Whatever makes a sweep incomplete keeps former keys: another one follows.
func TestIncompleteSweeps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(store *faulty)
		says  string
	}{
		"topology changes in a page": {func(f *faulty) {
			f.page = func() { id := "another"; f.topology.Store(&id) }
		}, "topology"},
		"a slot migrates": {func(f *faulty) { f.moving.Store(true) }, "a slot is migrating"},
		"the store fails": {func(f *faulty) { f.broken.Store(true) }, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, store := faultySite(t, nil)
			s.SetRetryWait(time.Millisecond)
			s.fill(250)
			s.begin(rotation.Order{})
			s.work()
			s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
			last := s.sweep().LastComplete
			c.spoil(store)
			for range 5 {
				_, _ = s.RunPending(t.Context())
			}
			sweep := s.sweep()
			require.Contains(t, sweep.Fault, c.says)
			require.NotContains(t, sweep.Fault, "10.1.2.3", "the error is for the server's log")
			require.False(t, sweep.Running())
			require.Equal(t, last, sweep.LastComplete)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
			store.page = nil
			store.moving.Store(false)
			store.broken.Store(false)
			s.work()
			require.Equal(t, sweep.Number, s.sweep().Number, "not at once")
			s.clock.pass(2 * time.Minute)
			require.Equal(t, rotation.Done, s.work().State)
			s.reads(250)
		})
	}
}

// A lost cursor begins the part again, and the notes from before stay.
func TestLostCursor(t *testing.T) {
	t.Parallel()
	s, store := faultySite(t, nil)
	s.fill(600)
	stale := s.straggler("entry 1", "value 1")
	s.begin(rotation.Order{})
	s.work()
	stale()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	begun := store.begun.Load()
	store.cursor.Store(true)
	require.Equal(t, rotation.Done, s.work().State)
	require.False(t, store.cursor.Load())
	require.Equal(t, first+3, s.sweep().Number, "the first found something")
	require.EqualValues(t, 4, store.begun.Load()-begun, "one of them began again")
	s.reads(600)
}

// A process that is killed between resealing a straggler and its next checkpoint does not make the sweep count as clean.
func TestFoundIsDurableBeforeResealing(t *testing.T) {
	t.Parallel()
	s, store := faultySite(t, nil)
	s.fill(10)
	stale := s.straggler("entry 3", "value 3")
	s.begin(rotation.Order{})
	s.work()
	stale()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	ctx, cancel := context.WithCancel(t.Context())
	store.after = cancel
	for ctx.Err() == nil {
		_, _ = s.RunPending(ctx)
	}
	store.after = nil
	require.True(t, s.sweep().Running())
	require.Equal(t, 10, s.under(10))
	require.Equal(t, rotation.Done, s.work().State)
	require.Equal(t, first+3, s.sweep().Number, "the first of them found something")
	s.reads(10)
}

// A sweep that a server begins whose clock is a minute ahead does not count before every other server has stopped sealing
// under the former keys, and before what they had sealed then has reached the store.
func TestSweepOfAnotherClock(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	stale := s.straggler("entry 3", "value 3")
	ahead := newSite(t, s.Keystore, s.Store, nil)
	ahead.clock.pass(time.Minute)
	s.begin(rotation.Order{Compromised: true})
	s.work()
	for _, one := range []*site{s, ahead} {
		one.clock.pass(s.Keyring.TTL())
	}
	ahead.work()
	require.Equal(t, classes, s.states(format.UseCache)[envelope.Compromised], "%+v", ahead.sweep())
	stale()
	require.Equal(t, 9, s.under(10))
	for _, one := range []*site{s, ahead} {
		one.clock.pass(2 * time.Hour)
	}
	require.Equal(t, rotation.Done, ahead.work().State)
	s.reads(10)
}

// A clock that was decades ahead for a while holds up neither the rotation that began then nor the next sweep.
func TestClockThatWasAhead(t *testing.T) {
	t.Parallel()
	const decades = 70 * 365 * 24 * time.Hour
	ends := func(t *testing.T, s *site) {
		t.Helper()
		require.NotEqual(t, rotation.Done, s.work().State)
		require.Equal(t, 10, s.under(10))
		for range 3 {
			s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
			s.work()
		}
		require.Equal(t, rotation.Done, s.record().State)
		s.reads(10)
	}
	t.Run("when a rotation began", func(t *testing.T) {
		t.Parallel()
		s := local(t, nil)
		s.fill(10)
		s.clock.pass(decades)
		s.begin(rotation.Order{})
		s.clock.pass(-decades)
		ends(t, s)
	})
	t.Run("when a sweep failed", func(t *testing.T) {
		t.Parallel()
		s, store := faultySite(t, nil)
		s.SetRetryWait(time.Millisecond)
		s.fill(10)
		s.begin(rotation.Order{})
		s.clock.pass(decades)
		store.broken.Store(true)
		for s.sweep().Ended == 0 {
			_, _ = s.RunPending(t.Context())
		}
		require.NotEmpty(t, s.sweep().Fault)
		store.broken.Store(false)
		s.clock.pass(-decades)
		ends(t, s)
	})
}

// Sweeps that ran while a tenant's keysets were missing from the keystore looked at none of its entries. They count as
// evidence for nothing once the keysets are back.
func TestSweepsWithoutKeysets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := localIn(t, dir, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	content, err := s.Keystore.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	keystoretest.DeleteSilently(t, dir, keystore.Keysets, "tenant")
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	for range 20 {
		_, _ = s.RunPending(t.Context())
	}
	require.NotZero(t, s.sweep().LastComplete)
	swapped, err := s.Keystore.Swap(t.Context(), keystore.Keysets, "tenant", nil, content, 0)
	require.NoError(t, err)
	require.True(t, swapped)
	for range 5 {
		s.clock.pass(2 * time.Hour)
		s.work()
		s.reads(10)
	}
	require.Equal(t, rotation.Done, s.record().State)
}

// A tenant whose keysets or entries cannot be read does not make the sweep incomplete for others.
func TestDamagedTenantAlone(t *testing.T) {
	t.Parallel()
	s, store := faultySite(t, nil)
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
	s.work()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
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

// An unannounced failover makes the sweep incomplete.
func TestSweepOverAFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	service := redistest.NewFailoverAddress(t, master)
	store := &faulty{Store: rediskv.New(service.Client())}
	s := newSite(t, directory(t, t.TempDir()), store, nil)
	s.fill(600)
	s.begin(rotation.Order{})
	s.work()
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	swept := s.sweep().LastComplete
	store.page = func() {
		store.page = nil
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		service.FailOver(replica)
	}
	require.Equal(t, rotation.Retiring, s.work().State)
	require.Contains(t, s.sweep().Fault, "topology")
	require.Equal(t, swept, s.sweep().LastComplete)
	s.clock.pass(2 * time.Minute)
	require.Equal(t, rotation.Done, s.work().State)
	s.reads(600)
}
