package rotation_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const kekURL = "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// recorder counts events.
type recorder struct{ events atomic.Int64 }

func (r *recorder) Record(_ context.Context, events ...audit.Event) error {
	r.events.Add(int64(len(events)))
	return nil
}

// clock is time.Now, or stands still, and is moved on by a test.
type clock struct {
	ahead atomic.Int64
	still atomic.Pointer[time.Time]
}

func (c *clock) now() time.Time {
	now := time.Now()
	if still := c.still.Load(); still != nil {
		now = *still
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

func (c *clock) pass(by time.Duration) { c.ahead.Add(int64(by)) }

func (c *clock) stand() {
	now := time.Now()
	c.still.Store(&now)
}

// site is one process of a service.
type site struct {
	*rotation.Rotator
	t     testing.TB
	cache *cache.Cache
	clock *clock
	audit *recorder
}

func newSite(t testing.TB, keys keystore.Store, store kv.Store, change func(*rotation.Options)) *site {
	kek, err := kms.Open(t.Context(), kekURL)
	require.NoError(t, err)
	s := &site{t: t, clock: &clock{}, audit: &recorder{}}
	o := rotation.Options{Keystore: keys, Store: store, Audit: s.audit, Grace: rotation.DefaultGrace, Now: s.clock.now}
	if change != nil {
		change(&o)
	}
	ring, err := keyring.New(keys, kms.NewSet(kek), "test", keyring.WithDueTime(rotation.DueTime(o.MaxAge, time.Now)))
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	o.Keyring = ring
	s.Rotator = rotation.New(o)
	s.SetPollInterval(100 * time.Millisecond)
	tenant, err := ring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	s.cache = cache.New(store, seal.NewSealer(tenant))
	return s
}

// local is a site of a directory and an embedded store.
func local(t testing.TB, change func(*rotation.Options)) *site {
	return localIn(t, t.TempDir(), change)
}

// localIn is local with the keystore in a directory.
func localIn(t testing.TB, dir string, change func(*rotation.Options)) *site {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return newSite(t, directory(t, dir), store, change)
}

func directory(t testing.TB, path string) keystore.Store {
	keys, err := sqlitekeys.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keys.Close()) })
	return keys
}

// fill writes entries of every class.
func (s *site) fill(n int) {
	s.t.Helper()
	items := make([]cache.Item, n)
	for i := range items {
		class := classify.All[i%len(classify.All)]
		items[i] = cache.Item{Key: fmt.Sprint("entry ", i), Value: fmt.Appendf(nil, "value %d", i), Class: class, TTL: time.Hour}
	}
	require.NoError(s.t, s.cache.SetMany(s.t.Context(), items))
}

// reads has every entry read, with the value it was given.
func (s *site) reads(n int) {
	s.t.Helper()
	for i := range n {
		value, err := s.cache.GetDecrypted(s.t.Context(), fmt.Sprint("entry ", i))
		require.NoError(s.t, err, "entry %d", i)
		require.Equal(s.t, fmt.Sprint("value ", i), string(value))
	}
}

func (s *site) begin(order rotation.Order) *rotation.Record {
	s.t.Helper()
	record, err := s.Begin(s.t.Context(), "tenant", order)
	require.NoError(s.t, err)
	return record
}

// work works until there is nothing more to do now.
func (s *site) work() *rotation.Record {
	s.t.Helper()
	for {
		did, err := s.RunPending(s.t.Context())
		require.NoError(s.t, err)
		if !did {
			return s.record()
		}
	}
}

func (s *site) record() *rotation.Record {
	s.t.Helper()
	record, err := s.Record(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	return record
}

func (s *site) sweep() *rotation.Sweep {
	s.t.Helper()
	sweep, err := s.CurrentSweep(s.t.Context())
	require.NoError(s.t, err)
	return sweep
}

// states counts the keys of a use by their state.
func (s *site) states(use format.Use) map[envelope.State]int {
	s.t.Helper()
	d, err := s.Keyring.Document(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	n := map[envelope.State]int{}
	for _, set := range d.Keysets {
		for _, k := range set.Keys {
			if set.Use == use {
				n[k.State]++
			}
		}
	}
	return n
}

// primaries returns the primary of each class of the cache.
func (s *site) primaries() map[classify.Class]format.KeyID {
	s.t.Helper()
	d, err := s.Keyring.Document(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	all := map[classify.Class]format.KeyID{}
	for _, set := range d.Keysets {
		if set.Use == format.UseCache {
			all[set.Class] = set.Primary()
		}
	}
	return all
}

// under counts the entries that are under their class's primary.
func (s *site) under(n int) (under int) {
	s.t.Helper()
	primaries := s.primaries()
	for i := range n {
		entry, err := s.cache.Inspect(s.t.Context(), fmt.Sprint("entry ", i))
		require.NoError(s.t, err)
		if primaries[entry.Class] == entry.KeyID {
			under++
		}
	}
	return under
}

var classes = len(classify.All)

// A rotation goes from new primaries to the destruction of the former keys, each step not before its time.
func TestLife(t *testing.T) {
	t.Parallel()
	const n = 1000
	s := local(t, nil)
	s.fill(n)
	field, err := s.tenant().Primary(format.UseField, classify.PHI)
	require.NoError(t, err)

	record := s.begin(rotation.Order{})
	require.Equal(t, rotation.Reencrypting, record.State)
	require.Len(t, record.Keysets, classes+1)
	require.Len(t, record.Former, classes)
	require.Zero(t, s.under(n))
	s.reads(n)
	record = s.work()
	require.Equal(t, rotation.Grace, record.State)
	require.Equal(t, n, record.Counts.Reencrypted)
	require.Equal(t, rotation.Counts{Scanned: n, Reencrypted: n}, s.sweep().Counts())
	require.Equal(t, n, s.under(n))
	first := s.sweep().Number
	s.clock.pass(rotation.DefaultGrace)
	require.Equal(t, rotation.Grace, s.work().State, "a process that is cut off may still seal under the former keys")
	require.Equal(t, first, s.sweep().Number)

	s.clock.pass(s.Keyring.TTL() + rotation.Margin + time.Second)
	record = s.work()
	require.Equal(t, rotation.Done, record.State)
	require.Equal(t, first+2, s.sweep().Number, "two sweeps found nothing")
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: classes}, s.states(format.UseCache))
	require.Equal(t, map[envelope.State]int{envelope.Enabled: 2}, s.states(format.UseField), "no sweep sees what is under them")
	now, err := s.tenant().Primary(format.UseField, classify.PHI)
	require.NoError(t, err)
	require.NotEqual(t, field, now)
	s.reads(n)
	require.EqualValues(t, classes+1+classes, s.audit.events.Load())
	_, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.ErrorIs(t, err, rotation.ErrNoRollback)
}

func (s *site) tenant() *keyring.Tenant {
	s.t.Helper()
	tenant, err := s.Keyring.Tenant(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	return tenant
}

// An entry that a process wrote under a former key after the re-encryption is found by a sweep, and its key is kept until
// two more sweeps found nothing.
func TestSweepsFindStragglers(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	stale := s.straggler("entry 3", "value 3")
	s.begin(rotation.Order{})
	s.work()
	require.Equal(t, 10, s.under(10))
	stale()
	require.Equal(t, 9, s.under(10))
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	record := s.work()
	require.Equal(t, rotation.Done, record.State)
	require.Equal(t, first+3, s.sweep().Number, "the first of them found it")
	require.Equal(t, 11, record.Counts.Reencrypted)
	require.Equal(t, 10, s.under(10))
	s.reads(10)
}

// straggler seals a value now, for a write that comes later.
func (s *site) straggler(key, value string) func() {
	sealed, err := s.cache.Seal(nil, &cache.Item{Key: key, Value: []byte(value), Class: classify.PHI})
	require.NoError(s.t, err)
	return func() { require.NoError(s.t, s.cache.Put(s.t.Context(), &sealed, cache.Condition{})) }
}

// After a rollback, half-way, everything opens: what was written before, what was sealed anew, and what was
// written since.
func TestRollback(t *testing.T) {
	t.Parallel()
	const n = 1000
	s, store := faultySite(t, nil)
	s.fill(n)
	before := s.primaries()
	s.begin(rotation.Order{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.after = cancel
	_, err := s.RunPending(ctx)
	require.ErrorContains(t, err, "context")
	store.after = nil
	half := s.under(n)
	require.NotZero(t, half)
	require.NotEqual(t, n, half)
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 0", []byte("value 0"), classify.PHI, cache.TTL(time.Hour)))

	record, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, rotation.RolledBack, record.State)
	require.Equal(t, before, s.primaries())
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 1", []byte("value 1"), classify.PHI, cache.TTL(time.Hour)))
	s.reads(n)
	record, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err, "again is no error")
	require.Equal(t, rotation.RolledBack, record.State)
	require.Equal(t, before, s.primaries())

	s.begin(rotation.Order{}) // and the next rotation takes care of both
	require.Equal(t, rotation.Grace, s.work().State)
	require.Equal(t, n, s.under(n))
	s.reads(n)
}

// No more entries are resealed than the rate allows, the first ones of a sweep included.
func TestRate(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Rate = 1 })
	s.fill(60)
	s.begin(rotation.Order{})
	begun := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.RunPending(ctx)
		ended <- err
	}()
	resealed := 0
	for resealed == 0 {
		time.Sleep(10 * time.Millisecond)
		resealed = s.under(60)
	}
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.LessOrEqual(t, resealed, 10+int(time.Since(begun)/time.Second), "ten at most come at once: the looks that a page needs")
}

// A compromised key never seals again, at once; there is no grace and no way back.
func TestCompromised(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Rate = 1 })
	s.fill(500)
	before, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	roots := before.Roots()
	record := s.begin(rotation.Order{Class: classify.PHI})
	require.Len(t, record.Keysets, 1)
	record = s.begin(rotation.Order{Compromised: true})
	require.Len(t, record.Keysets, classes, "it joins the milder rotation")
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Compromised: classes + 1}, s.states(format.UseCache))
	d, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.NotContains(t, d.Roots(), roots[0], "the root that may have leaked is gone")
	require.Len(t, d.Roots(), 1)
	_, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.ErrorIs(t, err, rotation.ErrNoRollback)
	begun := time.Now()
	require.Equal(t, rotation.Grace, s.work().State)
	require.Less(t, time.Since(begun), time.Minute, "500 entries at one a second")
	require.Equal(t, 500, s.under(500))
	s.clock.pass(s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.work().State)
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: classes + 1}, s.states(format.UseCache))
	s.reads(500)
}

// A keyset that was rotated otherwise since is not taken back to a key that was the primary long before.
func TestRollbackLeavesLaterKeys(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	before := s.primaries()
	s.begin(rotation.Order{})
	later, err := s.tenant().Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	_, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	for class, id := range s.primaries() {
		want := before[class]
		if class == classify.PHI {
			want = later
		}
		require.Equal(t, want, id)
	}
	s.reads(10)
}

// The keyring's counters are taken if no number of uses rotates a key, too: it keeps them until then.
func TestCountersAreTaken(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Serve(ctx, slog.New(slog.DiscardHandler))
	s.Keyring.DrainSealCounts(func(string, format.KeyID, uint64) { require.Fail(t, "a counter is left") })
}
