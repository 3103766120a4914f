package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// faultyCache is a store that fails regularly and in which other processes write.
type faultyCache struct {
	kv.Store
	calls         atomic.Int64
	failEvery     int64 // every nth call fails; 0 means none
	cursor        atomic.Bool
	sweepsBegun   atomic.Int64 // number of times that a sweep began to list the keys
	before        func(key string)
	after         func()
	page          func()
	unreadableKey string // a key that has no readable value

	topology    atomic.Pointer[string]
	moving      atomic.Bool
	broken      atomic.Bool
	loseReplies bool // failed writes take effect
}

func (f *faultyCache) fails() error {
	if f.broken.Load() {
		return fmt.Errorf("%w: dial tcp 10.1.2.3:6379", kv.ErrUnavailable)
	}
	if n := f.calls.Add(1); f.failEvery > 0 && n%f.failEvery == 0 {
		return kv.ErrUnavailable
	}
	return nil
}

func (f *faultyCache) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	if slices.Contains(keys, f.unreadableKey) {
		return nil, kv.ErrWrongType
	}
	return f.Store.Read(ctx, keys, limit)
}

func (f *faultyCache) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if err := f.fails(); err != nil {
		return nil, "", err
	}
	if cursor == "" {
		f.sweepsBegun.Add(1)
	}
	if cursor != "" && f.cursor.CompareAndSwap(true, false) {
		return nil, "", kv.ErrCursor
	}
	if f.page != nil {
		f.page()
	}
	return f.Store.(kv.Sweeper).SweepPage(ctx, part, prefix, cursor, min(limit, 100))
}

func (f *faultyCache) Topology(ctx context.Context) (kv.Topology, error) {
	t, err := f.Store.(kv.Sweeper).Topology(ctx)
	if id := f.topology.Load(); id != nil {
		t.ID = *id
	}
	if f.moving.Load() {
		t.Stable, t.Reason = false, "a slot is migrating"
	}
	return t, err
}

func (f *faultyCache) Write(ctx context.Context, swaps []kv.Write) ([]bool, error) {
	if len(swaps) == 0 || swaps[0].If != kv.Equals {
		return f.Store.Write(ctx, swaps)
	}
	for i := range swaps {
		if f.before != nil {
			f.before(swaps[i].Key)
		}
	}
	if err := f.fails(); err != nil {
		half := len(swaps) / 2
		if f.loseReplies {
			half = len(swaps)
		}
		swapped, e := f.Store.Write(ctx, swaps[:half])
		errs := append(make(kv.BatchError, half, len(swaps)), slices.Repeat([]error{errors.Join(err, e)}, len(swaps)-half)...)
		return append(swapped, make([]bool, len(swaps)-half)...), errs
	}
	swapped, err := f.Store.Write(ctx, swaps)
	if f.after != nil && slices.Contains(swapped, true) {
		f.after()
	}
	return swapped, err
}

func newFaultySite(t *testing.T, change func(*rotation.Options)) (*site, *faultyCache) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &faultyCache{Store: store}
	return newSite(t, directory(t, t.TempDir()), f, change), f
}

// Calls that fail before or after they take effect, and an expired cursor, delay the sweep but lose nothing.
func TestSweepSurvivesStoreErrors(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"half is written": false, "the reply is lost": true} {
		t.Run(name, func(t *testing.T) { testStoreErrors(t, lose) })
	}
}

func testStoreErrors(t *testing.T, lose bool) {
	s, store := newFaultySite(t, nil)
	store.loseReplies = lose
	s.fill(600)
	s.begin(rotation.Order{})
	store.failEvery = 5
	store.cursor.Store(true)
	record := s.runAll()
	require.Equal(t, rotation.Grace, record.State)
	require.Equal(t, []int{0, 0}, []int{record.Counts.Changed, record.Counts.Failed})
	require.GreaterOrEqual(t, s.sweep().Counts().Scanned, 600)
	store.failEvery = 0
	require.False(t, store.cursor.Load())
	require.Equal(t, 600, s.entriesUnderPrimary(600))
	s.requireReadable(600)
}

// A concurrent write between the reading of an entry and its replacement is kept and counted.
func TestConcurrentWriteStays(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(100)
	s.begin(rotation.Order{})
	store.before = func(key string) {
		if key == "coffer/tenant/cache/entry 7" {
			require.NoError(t, s.cache.SetEncrypted(t.Context(), "entry 7", []byte("written concurrently"), classify.PHI, cache.TTL(time.Minute)))
		}
	}
	record := s.runAll()
	require.Equal(t, 1, record.Counts.Changed)
	require.Equal(t, 99, record.Counts.Reencrypted)
	value, err := s.cache.GetDecrypted(t.Context(), "entry 7")
	require.NoError(t, err)
	require.Equal(t, "written concurrently", string(value))
}

// An entry that cannot be read, such as a Redis list, does not delay the entries that are read with it.
func TestUnreadableEntryDelaysNoOther(t *testing.T) {
	t.Parallel()
	s, store := newFaultySite(t, nil)
	s.fill(100)
	s.begin(rotation.Order{})
	store.unreadableKey = "coffer/tenant/cache/entry 7"
	record := s.runAll()
	require.Equal(t, rotation.Counts{Scanned: 100, Reencrypted: 99, Failed: 1}, s.sweep().Counts())
	require.Equal(t, []rotation.Failure{{Code: "authentication_failed", Entries: 1}}, record.Failures)
}

// Entries that do not open are counted by class, key and error. They are left as they are, and keep their key from
// being destroyed.
func TestUnopenableEntriesKeepTheirKey(t *testing.T) {
	t.Parallel()
	log := &eventLog{}
	s, store := newFaultySite(t, func(o *rotation.Options) { o.Audit = log })
	s.fill(10)
	ctx, prefix := t.Context(), "coffer/tenant/cache/"
	moved, _, err := kv.Get(ctx, store, prefix+"entry 4")
	require.NoError(t, err)
	require.NoError(t, kv.Set(ctx, store, prefix+"moved", moved, 0))
	require.NoError(t, kv.Set(ctx, store, prefix+"foreign", []byte("no package"), 0))
	key := s.primaries()[classify.PHI]
	s.begin(rotation.Order{})
	record := s.runAll()
	require.Equal(t, rotation.Counts{Scanned: 12, Reencrypted: 10, Failed: 1, Foreign: 1}, s.sweep().Counts())
	require.Equal(t, []audit.Event{{
		Action: audit.KeyOpen, Operation: "sweep", Tenant: "tenant", Code: "authentication_failed", Facts: audit.Facts{audit.FactFailed: "2"},
	}}, slices.DeleteFunc(log.events, func(e audit.Event) bool { return e.Operation != "sweep" }))
	require.Equal(t, []rotation.Failure{{Key: rotation.Key{Class: classify.PHI, ID: rotation.ID(key)}, Code: "authentication_failed", Entries: 1}}, record.Failures)
	for range 3 {
		s.clock.advance(rotation.DefaultGrace + time.Hour)
		record = s.runAll()
	}
	require.Equal(t, rotation.Retiring, record.State)
	require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
	require.Equal(t, 1, record.Counts.Failed, "the failures of the last sweep")
	now, _, err := kv.Get(ctx, store, prefix+"moved")
	require.NoError(t, err)
	require.Equal(t, moved, now)
	_, err = kv.Delete(ctx, store, prefix+"moved")
	require.NoError(t, err)
	s.clock.advance(2 * time.Hour)
	require.Equal(t, rotation.Done, s.runAll().State)
}

// Begin refuses a tenant that was shredded.
func TestBeginRefusesShreddedTenant(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	require.NoError(t, s.Keyring.Shred(t.Context(), "tenant"))
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	require.Equal(t, rotation.Done, s.runAll().State)
	require.Equal(t, rotation.Counts{Scanned: 10, Foreign: 10}, s.sweep().Counts(), "its entries cannot be opened, and no KMS is called for them")
	_, err := s.Begin(t.Context(), "tenant", rotation.Order{})
	require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
}

// serveUntil runs Serve until the condition is true.
func (s *site) serveUntil(until func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx, slog.New(slog.DiscardHandler))
	}()
	require.Eventually(s.t, until, time.Minute, 20*time.Millisecond)
	cancel()
	<-done
}

// Keysets are due according to the age that is configured now, not the age of the process that wrote them last.
func TestDueTimeFollowsConfiguredAge(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"never": 0, "longer": 90 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := keystoretest.NewMemory()
			store, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			newSite(t, keys, store, func(o *rotation.Options) { o.MaxAge = age }).fill(10)
			s := newSite(t, keys, store, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
			before := s.primaries()
			s.clock.advance(24*time.Hour + time.Second)
			s.serveUntil(s.reached(rotation.Grace))
			for class, id := range s.primaries() {
				require.NotEqual(t, before[class], id)
			}
		})
	}
}

// A server continues a rotation that another process began, until the former keys are destroyed.
func TestServeContinuesRotations(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	s.serveUntil(s.reached(rotation.Grace))
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	s.serveUntil(s.reached(rotation.Done))
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: classes}, s.states(format.UseCache))
	s.requireReadable(10)
}

// reached returns a function that reports whether the rotation is in a state.
func (s *site) reached(to rotation.State) func() bool {
	return func() bool {
		record, err := s.Record(context.Background(), "tenant")
		return err == nil && record != nil && record.State == to
	}
}

// Keysets get new primaries automatically when their keys are old or were used often enough.
func TestKeysetsRotateByAgeAndUses(t *testing.T) {
	t.Parallel()
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		s := newLocalSite(t, func(o *rotation.Options) { o.MaxAge = 90 * 24 * time.Hour })
		s.fill(10)
		before := s.primaries()
		s.clock.advance(89 * 24 * time.Hour)
		s.clock.advance(24*time.Hour + time.Second)
		s.serveUntil(s.reached(rotation.Grace))
		for class, id := range s.primaries() {
			require.NotEqual(t, before[class], id)
		}
		require.Equal(t, 10, s.entriesUnderPrimary(10))
	})
	t.Run("uses", func(t *testing.T) {
		t.Parallel()
		s := newLocalSite(t, func(o *rotation.Options) { o.MaxUses = 50 })
		for i := range 60 {
			class := classify.PHI
			if i%2 == 0 {
				class = classify.PII
			}
			if class == classify.PII || i < 30 {
				require.NoError(t, s.cache.SetEncrypted(t.Context(), "k", []byte("value"), class, cache.TTL(time.Hour)))
			}
		}
		for range 20 {
			require.NoError(t, s.cache.SetEncrypted(t.Context(), "k", []byte("value"), classify.PII, cache.TTL(time.Hour)))
		}
		before := s.primaries()
		s.serveUntil(s.reached(rotation.Grace))
		require.NotEqual(t, before[classify.PII], s.primaries()[classify.PII])
		require.Equal(t, before[classify.PHI], s.primaries()[classify.PHI], "the key was used less often")
		record, err := s.Record(t.Context(), "tenant")
		require.NoError(t, err)
		require.Len(t, record.Keysets, 1)
		require.EqualValues(t, 15, record.Sealed[rotation.ID(before[classify.PHI])])
	})
}
