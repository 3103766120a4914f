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

// clock is time.Now, or a stopped clock. A test can advance it.
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

func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }

func (c *clock) stop() {
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

// newLocalSite returns a site with a keystore in a temporary directory and an embedded store.
func newLocalSite(t testing.TB, change func(*rotation.Options)) *site {
	return newLocalSiteIn(t, t.TempDir(), change)
}

// newLocalSiteIn is like newLocalSite, with the keystore in a given directory.
func newLocalSiteIn(t testing.TB, dir string, change func(*rotation.Options)) *site {
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

// fill writes n entries of every class.
func (s *site) fill(n int) {
	s.t.Helper()
	items := make([]cache.Item, n)
	for i := range items {
		class := classify.All[i%len(classify.All)]
		items[i] = cache.Item{Key: fmt.Sprint("entry ", i), Value: fmt.Appendf(nil, "value %d", i), Class: class, TTL: time.Hour}
	}
	require.NoError(s.t, s.cache.SetMany(s.t.Context(), items))
}

// requireReadable reads every entry and checks its value.
func (s *site) requireReadable(n int) {
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

// runAll calls RunPending until there is nothing more to do.
func (s *site) runAll() *rotation.Record {
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

// states counts the keys of a use by state.
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

// entriesUnderPrimary counts the entries under the primary of their class.
func (s *site) entriesUnderPrimary(n int) (under int) {
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

// A rotation goes through its states from new primaries to the destruction of the former keys, and enters no state too
// early.
func TestRotationStates(t *testing.T) {
	t.Parallel()
	const n = 1000
	s := newLocalSite(t, nil)
	s.fill(n)
	field, err := s.tenant().Primary(t.Context(), format.UseField, classify.PHI)
	require.NoError(t, err)

	record := s.begin(rotation.Order{})
	require.Equal(t, rotation.Reencrypting, record.State)
	require.Len(t, record.Keysets, classes+1)
	require.Len(t, record.Former, classes)
	require.Zero(t, s.entriesUnderPrimary(n))
	s.requireReadable(n)
	record = s.runAll()
	require.Equal(t, rotation.Grace, record.State)
	require.Equal(t, n, record.Counts.Reencrypted)
	require.Equal(t, rotation.Counts{Scanned: n, Reencrypted: n}, s.sweep().Counts())
	require.Equal(t, n, s.entriesUnderPrimary(n))
	first := s.sweep().Number
	s.clock.advance(rotation.DefaultGrace)
	require.Equal(t, rotation.Grace, s.runAll().State, "a process without access to the keystore may still seal under the former keys")
	require.Equal(t, first, s.sweep().Number)

	s.clock.advance(s.Keyring.TTL() + rotation.Margin + time.Second)
	record = s.runAll()
	require.Equal(t, rotation.Done, record.State)
	require.Equal(t, first+2, s.sweep().Number, "two sweeps found nothing")
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: classes}, s.states(format.UseCache))
	require.Equal(t, map[envelope.State]int{envelope.Enabled: 2}, s.states(format.UseField), "no sweep sees the data under them")
	now, err := s.tenant().Primary(t.Context(), format.UseField, classify.PHI)
	require.NoError(t, err)
	require.NotEqual(t, field, now)
	s.requireReadable(n)
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

// A sweep finds an entry that a process wrote under a former key after the re-encryption. The key is kept until two
// more sweeps have found nothing.
func TestLateWriteKeepsFormerKey(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	stale := s.prepareLateWrite("entry 3", "value 3")
	s.begin(rotation.Order{})
	s.runAll()
	require.Equal(t, 10, s.entriesUnderPrimary(10))
	stale()
	require.Equal(t, 9, s.entriesUnderPrimary(10))
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	first := s.sweep().Number
	record := s.runAll()
	require.Equal(t, rotation.Done, record.State)
	require.Equal(t, first+3, s.sweep().Number, "the first sweep found the entry")
	require.Equal(t, 11, record.Counts.Reencrypted)
	require.Equal(t, 10, s.entriesUnderPrimary(10))
	s.requireReadable(10)
}

// prepareLateWrite seals a value now and returns a function that writes it.
func (s *site) prepareLateWrite(key, value string) func() {
	sealed, err := s.cache.Seal(context.Background(), nil, &cache.Item{Key: key, Value: []byte(value), Class: classify.PHI})
	require.NoError(s.t, err)
	return func() { require.NoError(s.t, s.cache.Put(s.t.Context(), &sealed, cache.Condition{})) }
}

// After a rollback in the middle of a rotation, every entry opens, whether it was written before the rotation,
// re-encrypted or written since.
func TestRollbackKeepsEverythingReadable(t *testing.T) {
	t.Parallel()
	const n = 1000
	s, store := newFaultySite(t, nil)
	s.fill(n)
	before := s.primaries()
	s.begin(rotation.Order{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.after = cancel
	_, err := s.RunPending(ctx)
	require.ErrorContains(t, err, "context")
	store.after = nil
	half := s.entriesUnderPrimary(n)
	require.NotZero(t, half)
	require.NotEqual(t, n, half)
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 0", []byte("value 0"), classify.PHI, cache.TTL(time.Hour)))

	record, err := s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	require.Equal(t, rotation.RolledBack, record.State)
	require.Equal(t, before, s.primaries())
	require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 1", []byte("value 1"), classify.PHI, cache.TTL(time.Hour)))
	s.requireReadable(n)
	record, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err, "a second rollback is not an error")
	require.Equal(t, rotation.RolledBack, record.State)
	require.Equal(t, before, s.primaries())

	s.begin(rotation.Order{}) // the next rotation retires both keys
	require.Equal(t, rotation.Grace, s.runAll().State)
	require.Equal(t, n, s.entriesUnderPrimary(n))
	s.requireReadable(n)
}

// A sweep does not exceed the rate limit, not even with its first entries.
func TestSweepKeepsRateLimit(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, func(o *rotation.Options) { o.Rate = 1 })
	s.fill(60)
	s.begin(rotation.Order{})
	begun := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.RunPending(ctx)
		ended <- err
	}()
	reencrypted := 0
	for reencrypted == 0 {
		time.Sleep(10 * time.Millisecond)
		reencrypted = s.entriesUnderPrimary(60)
	}
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.LessOrEqual(t, reencrypted, 10+int(time.Since(begun)/time.Second), "at most ten at once, for the entries of a page")
}

// A compromised key never seals again and has no grace period and no rollback.
func TestCompromisedKeyNeverSealsAgain(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, func(o *rotation.Options) { o.Rate = 1 })
	s.fill(500)
	before, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	roots := before.Roots()
	record := s.begin(rotation.Order{Class: classify.PHI})
	require.Len(t, record.Keysets, 1)
	record = s.begin(rotation.Order{Compromised: true})
	require.Len(t, record.Keysets, classes, "it joins the running rotation")
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Compromised: classes + 1}, s.states(format.UseCache))
	d, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.NotContains(t, d.Roots(), roots[0], "the root that may have leaked was replaced")
	require.Len(t, d.Roots(), 1)
	_, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.ErrorIs(t, err, rotation.ErrNoRollback)
	begun := time.Now()
	require.Equal(t, rotation.Grace, s.runAll().State)
	require.Less(t, time.Since(begun), time.Minute, "500 entries at one per second")
	require.Equal(t, 500, s.entriesUnderPrimary(500))
	s.clock.advance(s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.runAll().State)
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: classes + 1}, s.states(format.UseCache))
	s.requireReadable(500)
}

// A rollback does not change a keyset that was rotated again after the rotation.
func TestRollbackLeavesLaterKeys(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	before := s.primaries()
	s.begin(rotation.Order{})
	laterKey, err := s.tenant().Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	_, err = s.Rollback(t.Context(), "tenant", rotation.Requester{})
	require.NoError(t, err)
	for class, id := range s.primaries() {
		want := before[class]
		if class == classify.PHI {
			want = laterKey
		}
		require.Equal(t, want, id)
	}
	s.requireReadable(10)
}

// The keyring's counters are drained even if MaxUses is 0: otherwise the keyring keeps them.
func TestUseCountersAreDrained(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Serve(ctx, slog.New(slog.DiscardHandler))
	s.Keyring.DrainSealCounts(func(string, format.KeyID, uint64) { require.Fail(t, "a counter is left") })
}
