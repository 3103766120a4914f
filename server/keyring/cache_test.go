package keyring

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// flaky is a KEK that can go down, and counts its calls.
type flaky struct {
	kms.KEK
	down  atomic.Bool
	calls atomic.Int64
}

func (f *flaky) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	f.calls.Add(1)
	if f.down.Load() {
		return nil, kms.ErrUnavailable
	}
	return f.KEK.Unwrap(ctx, wrapped, additionalData)
}

// cached is a tenant in memory, whose keyring's clock is the test's.
func cached(t *testing.T, options ...Option) (*Keyring, *Tenant, *flaky, string) {
	dir, kek := t.TempDir(), &flaky{KEK: localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
	r, err := Open(dir, kek, "test", options...)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.close.Do(func() { close(r.closing) }) // nothing happens but what the test does
	<-r.closed
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	kek.calls.Store(0)
	return r, tenant, kek, dir
}

func works(tenant *Tenant) error {
	_, err := tenant.Primary(format.UseCache, classify.PHI)
	return err
}

func (t *Tenant) settle() {
	for {
		t.mu.Lock()
		f := t.flight
		t.mu.Unlock()
		if f == nil {
			return
		}
		<-f.done
	}
}

// Keys that are in use are renewed before their time is over; those that nobody uses are dropped, and
// unlocked again when they are.
func TestRenewal(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t, WithTTL(time.Hour))
	require.Equal(t, time.Hour, r.TTL())
	begun := time.Now()
	tenant.age(begun.Add(50 * time.Minute))
	tenant.settle()
	require.Zero(t, kek.calls.Load(), "nobody used them")
	require.NoError(t, works(tenant))
	tenant.age(begun.Add(30 * time.Minute))
	tenant.settle()
	require.Zero(t, kek.calls.Load(), "it is early")
	tenant.age(begun.Add(50 * time.Minute))
	tenant.settle()
	require.EqualValues(t, 1, kek.calls.Load())
	tenant.age(time.Now().Add(59 * time.Minute))
	tenant.settle()
	require.NotNil(t, tenant.state.Load())
	tenant.age(time.Now().Add(61 * time.Minute))
	require.Nil(t, tenant.state.Load())
	require.Nil(t, tenant.roots)
	require.NoError(t, works(tenant))
	require.EqualValues(t, 2, kek.calls.Load())
}

// An outage of the KMS is survived for the keys' time, is told, and is over by itself.
func TestOutage(t *testing.T) {
	t.Parallel()
	r, tenant, kek, dir := cached(t, WithTTL(time.Hour))
	require.NoError(t, works(tenant))
	kek.down.Store(true)
	begun := time.Now()
	for minutes := 46; minutes < 60; minutes++ {
		tenant.age(begun.Add(time.Duration(minutes) * time.Minute))
		tenant.settle()
		require.NoError(t, works(tenant), minutes)
	}
	before := kek.calls.Load()
	for second := range 60 {
		tenant.age(begun.Add(58*time.Minute + time.Duration(second)*time.Second))
		tenant.settle()
	}
	require.LessOrEqual(t, kek.calls.Load()-before, int64(7), "it is not hammered")
	since, err := r.Health()
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.WithinDuration(t, begun, since, time.Minute)

	tenant.age(begun.Add(61 * time.Minute))
	require.ErrorIs(t, works(tenant), kms.ErrUnavailable)
	restarted, err := Open(dir, kek, "test")
	require.NoError(t, err)
	defer restarted.Close()
	_, err = restarted.Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, kms.ErrUnavailable)

	kek.down.Store(false)
	require.NoError(t, works(tenant))
	_, err = r.Health()
	require.NoError(t, err)
}

// While the KMS fails, keys in use ask for it again, so that its recovery is noticed though no key is due.
func TestRecoveryIsNoticed(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t)
	require.NoError(t, works(tenant))
	r.health.note(kms.ErrUnavailable)
	tenant.age(time.Now())
	tenant.settle()
	require.EqualValues(t, 1, kek.calls.Load())
	_, err := r.Health()
	require.NoError(t, err)
}

// It is noticed too where nobody uses a key any more: else an idle server would be said to be without its KMS
// for ever. One tenant's keys are asked for, now and then.
func TestRecoveryIsNoticedByAnIdleServer(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t)
	other, err := r.Tenant(t.Context(), "other")
	require.NoError(t, err)
	kek.calls.Store(0)
	kek.down.Store(true)
	_, err = r.Tenant(t.Context(), "third")
	require.ErrorIs(t, err, kms.ErrUnavailable)
	failed := r.health.asked
	for _, second := range []struct {
		after int
		asks  bool
	}{{0, false}, {9, false}, {11, true}, {12, false}, {20, false}, {22, true}} {
		require.Equal(t, second.asks, r.health.ask(failed.Add(time.Duration(second.after)*time.Second)), second.after)
	}
	kek.down.Store(false)
	kek.calls.Store(0)
	r.health.asked = failed.Add(-time.Minute)
	r.check("")
	tenant.settle()
	other.settle()
	_, err = r.Health()
	require.NoError(t, err)
	require.EqualValues(t, 1, kek.calls.Load())
	require.False(t, r.health.ask(failed.Add(time.Hour)))
}

// After the number of uses the KEK is asked again.
func TestUses(t *testing.T) {
	t.Parallel()
	_, tenant, kek, _ := cached(t, WithUses(10))
	require.NoError(t, works(tenant)) // makes the key, which is read anew
	kek.calls.Store(0)
	for range 100 {
		require.NoError(t, works(tenant))
	}
	require.InDelta(t, 10, kek.calls.Load(), 2)
}

// How often each key sealed is told once.
func TestSealed(t *testing.T) {
	t.Parallel()
	_, tenant, _, _ := cached(t)
	require.NoError(t, works(tenant))
	before := tenant.Sealed()
	for range 5 {
		require.NoError(t, works(tenant))
	}
	id, err := tenant.Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	require.LessOrEqual(t, before[id], uint64(1))
	require.Equal(t, map[format.KeyID]uint64{id: 6}, tenant.Sealed())
	require.Empty(t, tenant.Sealed())
}

// What cannot be read any more is served from memory, and adopted when it can again.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	r, tenant, _, _ := cached(t)
	require.NoError(t, works(tenant))
	seen := r.check("")
	path := r.where("tenant")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	now, err := r.store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	_, err = r.store.Swap(t.Context(), keystore.Keysets, "tenant", now, now, 1) // which enters the feed
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	require.Equal(t, seen, r.check(seen), "it is looked at again")
	require.NoError(t, works(tenant))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NotEqual(t, seen, r.check(seen))
}

// A document that was removed is not made anew, also once its keys are no longer in memory.
func TestRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	r, tenant, _, _ := cached(t)
	require.NoError(t, works(tenant))
	require.NoError(t, os.Remove(r.where("tenant")))
	tenant.lock()
	require.ErrorIs(t, works(tenant), ErrUnreadable)
	require.NoFileExists(t, r.where("tenant"))
}

// A new root is in memory from when it is made: its KEK is not asked for what was just given to it.
func TestNewRootIsHeld(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t)
	second := &flaky{KEK: localKEK(t, "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
	r.keks = r.keks.With(classify.PHI, second)
	require.NoError(t, works(tenant))
	require.Zero(t, kek.calls.Load()+second.calls.Load())
	tenant.lock()
	require.NoError(t, works(tenant))
	require.EqualValues(t, 1, second.calls.Load())
}

// A closed keyring keeps no key.
func TestClose(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t)
	r.Close()
	require.Nil(t, tenant.state.Load())
	require.NoError(t, works(tenant), "who goes on using it asks the KEK")
	require.EqualValues(t, 1, kek.calls.Load())
}

// What metrics tell of the keys in memory: of how many tenants, and how often a use had to wait for the KEK.
// A renewal makes nobody wait.
func TestCached(t *testing.T) {
	t.Parallel()
	r, tenant, kek, _ := cached(t, WithTTL(time.Hour))
	told := func(tenants int, missed uint64) {
		t.Helper()
		gotTenants, gotMissed := r.Cached()
		require.Equal(t, []any{tenants, missed}, []any{gotTenants, gotMissed})
	}
	told(1, 1)
	require.NoError(t, works(tenant))
	tenant.age(time.Now().Add(50 * time.Minute))
	tenant.settle()
	require.EqualValues(t, 1, kek.calls.Load())
	told(1, 1)
	tenant.lock()
	told(0, 1)
	require.NoError(t, works(tenant))
	told(1, 2)
}
