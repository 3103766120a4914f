package keyring

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// flaky is a KEK that can fail, and that counts its calls.
type flaky struct {
	kms.KEK
	down  atomic.Bool
	calls atomic.Int64

	altered atomic.Bool // wrapped keys do not authenticate
}

func (f *flaky) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	f.calls.Add(1)
	if f.down.Load() {
		return nil, kms.ErrUnavailable
	}
	if f.altered.Load() {
		return nil, envelope.ErrAuthentication
	}
	return f.KEK.Unwrap(ctx, wrapped, additionalData)
}

func newFlaky(t *testing.T) *flaky {
	return &flaky{KEK: localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
}

func ringOver(t testing.TB, store keystore.Store, kek kms.KEK, options ...Option) *Keyring {
	r, err := New(store, kms.NewSet(kek), "test", options...)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// cached returns a tenant whose keys are in memory.
func cached(t *testing.T, options ...Option) (*Keyring, *Tenant, *flaky, *keystoretest.Memory) {
	store, kek := keystoretest.NewMemory(), newFlaky(t)
	r := ringOver(t, store, kek, options...)
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	kek.calls.Store(0)
	return r, tenant, kek, store
}

func works(tenant *Tenant) error {
	_, err := tenant.Primary(context.Background(), format.UseCache, classify.PHI)
	return err
}

// Keys that are in use are renewed before their TTL ends. Others are dropped, and unlocked again at their next use.
func TestKeysInUseAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tenant, kek, _ := cached(t, WithTTL(time.Hour))
		require.Equal(t, time.Hour, r.TTL())
		require.NoError(t, works(tenant))
		time.Sleep(35 * time.Minute)
		require.Zero(t, kek.calls.Load(), "it is early")
		time.Sleep(15 * time.Minute)
		require.EqualValues(t, 1, kek.calls.Load())
		time.Sleep(45 * time.Minute)
		require.NotNil(t, tenant.state.Load())
		time.Sleep(20 * time.Minute)
		require.EqualValues(t, 1, kek.calls.Load(), "no caller used the keys")
		require.Nil(t, tenant.state.Load())
		require.Nil(t, tenant.openedRoots())
		tenants, _ := r.CacheStats()
		require.Zero(t, tenants)
		require.NoError(t, works(tenant))
		require.EqualValues(t, 2, kek.calls.Load())
	})
}

// Keys that are used again after their renewal was due are renewed then.
func TestRenewalAfterAnIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tenant, kek, _ := cached(t, WithTTL(time.Hour))
		time.Sleep(50 * time.Minute)
		require.Zero(t, kek.calls.Load())
		require.NoError(t, works(tenant))
		time.Sleep(8 * time.Minute)
		require.EqualValues(t, 1, kek.calls.Load())
		time.Sleep(30 * time.Minute)
		require.NotNil(t, tenant.state.Load())
	})
}

// An outage of the KMS has no effect during the TTL of the keys, is reported, and is over without intervention.
func TestKeysSurviveAnOutageForTheirTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tenant, kek, store := cached(t, WithTTL(time.Hour))
		require.NoError(t, works(tenant))
		kek.down.Store(true)
		time.Sleep(35 * time.Minute)
		_, err := r.KEKHealth()
		require.NoError(t, err, "the KMS was not called yet")
		for range 24 {
			time.Sleep(time.Minute)
			require.NoError(t, works(tenant))
		}
		require.Less(t, kek.calls.Load(), int64(24*20), "one call in some seconds")
		require.Greater(t, kek.calls.Load(), int64(10))
		since, err := r.KEKHealth()
		require.ErrorIs(t, err, kms.ErrUnavailable)
		require.WithinDuration(t, time.Now().Add(-17*time.Minute), since, 8*time.Minute)

		time.Sleep(2 * time.Minute)
		require.ErrorIs(t, works(tenant), kms.ErrUnavailable)
		restarted := ringOver(t, store, kek)
		_, err = restarted.Tenant(t.Context(), "tenant")
		require.ErrorIs(t, err, kms.ErrUnavailable)

		kek.down.Store(false)
		time.Sleep(10 * time.Second)
		require.NoError(t, works(tenant))
		_, err = r.KEKHealth()
		require.NoError(t, err)
	})
}

// The end of an outage is noticed even if no caller uses a key, by an occasional call.
func TestRecoveryIsNoticedByAnIdleServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, kek, _ := cached(t)
		_, err := r.Tenant(t.Context(), "other")
		require.NoError(t, err)
		r.health.record(kms.ErrUnavailable)
		kek.down.Store(true)
		kek.calls.Store(0)
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 100, kek.calls.Load(), 70)
		_, err = r.KEKHealth()
		require.Error(t, err)
		kek.down.Store(false)
		kek.calls.Store(0)
		time.Sleep(15 * time.Second)
		_, err = r.KEKHealth()
		require.NoError(t, err)
		require.LessOrEqual(t, kek.calls.Load(), int64(3))
	})
}

// While the KMS is down, callers whose keys are not in memory get its error immediately, and do not each call it.
func TestCallersDoNotStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, kek, _ := cached(t)
		kek.down.Store(true)
		kek.calls.Store(0)
		begun := time.Now()
		for i := range 1000 {
			_, err := r.Tenant(t.Context(), "tenant-"+string(rune('a'+i%20)))
			require.Error(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(begun), 12*time.Second)
		require.Less(t, kek.calls.Load(), int64(80))
	})
}

// After the maximal number of uses the KEK is called again.
func TestMaxUses(t *testing.T) {
	_, tenant, kek, _ := cached(t, WithMaxUses(10))
	require.NoError(t, works(tenant)) // makes the key, and reads it again
	kek.calls.Store(0)
	for range 100 {
		require.NoError(t, works(tenant))
	}
	require.InDelta(t, 10, kek.calls.Load(), 2)
}

// The number of packages that each key sealed is reported once, including keys that were dropped in the meantime.
func TestDrainSealCounts(t *testing.T) {
	r, tenant, _, _ := cached(t)
	require.NoError(t, works(tenant))
	id, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	counted := func() map[format.KeyID]uint64 {
		all := map[format.KeyID]uint64{}
		r.DrainSealCounts(func(tenant string, id format.KeyID, n uint64) {
			require.Equal(t, "tenant", tenant)
			all[id] += n
		})
		return all
	}
	counted()
	for range 5 {
		require.NoError(t, works(tenant))
	}
	tenant.lock()
	for range 2 {
		require.NoError(t, works(tenant))
	}
	require.Equal(t, map[format.KeyID]uint64{id: 7}, counted())
	require.Empty(t, counted())
}

// If a document cannot be read, its keys are used from memory. A change is adopted as soon as it can be read.
func TestKeysSurviveAStoreOutage(t *testing.T) {
	dir := t.TempDir()
	store, err := sqlitekeys.Open(dir)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		r := ringOver(t, store, newFlaky(t))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		other := ringOver(t, store, newFlaky(t))
		theirs, err := other.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		_, err = theirs.Primary(t.Context(), format.UseFile, classify.PHI)
		require.NoError(t, err)
		content := contentOf(t, store, "tenant")
		keystoretest.Put(t, store, keystore.Keysets, "tenant", []byte("damaged"))
		time.Sleep(5 * time.Second)
		require.NoError(t, works(tenant))
		lacks := func() bool { return tenant.state.Load().lacksKeyset(format.UseFile, classify.PHI) }
		require.True(t, lacks())
		keystoretest.Put(t, store, keystore.Keysets, "tenant", content)
		time.Sleep(2 * time.Second)
		require.False(t, lacks())
	})
}

// A document that was removed is not created again, even after its keys left the memory.
func TestRemovedDocumentIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tenant, _, store := cached(t, WithTTL(time.Minute))
		require.NoError(t, works(tenant))
		time.Sleep(3 * time.Minute)
		store.LoseDocuments(keystore.Keysets, "tenant")
		require.ErrorIs(t, works(tenant), ErrUnreadable)
		content, err := store.Get(t.Context(), keystore.Keysets, "tenant")
		require.NoError(t, err)
		require.Nil(t, content)
	})
}

// A new root stays in memory: its KEK is not called to unwrap the root that it just wrapped.
func TestNewRootStaysInMemory(t *testing.T) {
	r, tenant, kek, _ := cached(t)
	second := &flaky{KEK: localKEK(t, "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
	r.keks = r.keks.With(classify.PHI, second)
	require.NoError(t, works(tenant))
	require.Zero(t, kek.calls.Load()+second.calls.Load())
	tenant.lock()
	require.NoError(t, works(tenant))
	require.EqualValues(t, 1, second.calls.Load())
}

// Close drops all keys.
func TestCloseDropsKeys(t *testing.T) {
	r, tenant, kek, _ := cached(t)
	r.Close()
	require.Nil(t, tenant.state.Load())
	require.NoError(t, works(tenant), "a caller that goes on using it asks the KEK")
	require.EqualValues(t, 1, kek.calls.Load())
}

// CacheStats counts the tenants whose keys are in memory, and the uses that waited for the KEK. No caller waits for a
// renewal.
func TestCacheStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tenant, kek, _ := cached(t, WithTTL(time.Hour))
		reported := func(tenants int, missed uint64) {
			t.Helper()
			gotTenants, gotMissed := r.CacheStats()
			require.Equal(t, []any{tenants, missed}, []any{gotTenants, gotMissed})
		}
		reported(1, 1)
		require.NoError(t, works(tenant))
		time.Sleep(50 * time.Minute)
		require.EqualValues(t, 1, kek.calls.Load())
		reported(1, 1)
		tenant.lock()
		reported(0, 1)
		require.NoError(t, works(tenant))
		reported(1, 2)
	})
}

// Beyond the limit, the keys of the least recently used tenant are dropped. A caller that still has that tenant
// unlocks it again, and uses changes of other processes.
func TestLeastRecentlyUsedTenantIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, kek := keystoretest.NewMemory(), newFlaky(t)
		r := ringOver(t, store, kek, WithMaxTenants(3))
		of := func(id string) *Tenant {
			tenant, err := r.Tenant(t.Context(), id)
			require.NoError(t, err)
			return tenant
		}
		a, b := of("a"), of("b")
		of("c")
		require.Same(t, a, of("a"))
		of("d")
		require.NotNil(t, a.state.Load())
		require.Nil(t, b.state.Load())
		require.Nil(t, b.openedRoots())
		tenants, _ := r.CacheStats()
		require.Equal(t, 3, tenants)
		require.NoError(t, works(b))
		require.Same(t, b, of("b"))
		of("e")
		of("f")
		of("g")
		require.Nil(t, b.state.Load())
		require.NoError(t, works(b))
		require.NoError(t, ringOver(t, store, newFlaky(t)).Shred(t.Context(), "b"))
		time.Sleep(2 * time.Second)
		require.Error(t, works(b))
		tenants, _ = r.CacheStats()
		require.LessOrEqual(t, tenants, 3)
	})
}

// The memory does not grow with the number of tenants that were used before.
func TestIdleTenantsAreForgotten(t *testing.T) {
	r := ringOver(t, keystoretest.NewMemory(), newFlaky(t), WithMaxTenants(10))
	for i := range 500 {
		_, err := r.Tenant(t.Context(), filepath.Join("tenant", string(rune('a'+i))))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		collect()
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.tenants) <= 20
	}, time.Minute, 10*time.Millisecond)
}

// A change of the document by another process does not reset the number of uses.
func TestChangeDoesNotResetUses(t *testing.T) {
	_, tenant, kek, store := cached(t, WithMaxUses(10))
	require.NoError(t, works(tenant))
	other, err := ringOver(t, store, newFlaky(t)).Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	kek.calls.Store(0)
	for range 20 {
		_, err := other.Rotate(t.Context(), format.UseFile, classify.PHI, nil)
		require.NoError(t, err)
		for range 5 {
			require.NoError(t, works(tenant))
		}
		require.NoError(t, tenant.Reload(t.Context()))
	}
	require.InDelta(t, 10, kek.calls.Load(), 2)
}

// Keys that were used before their document changed are renewed.
func TestRenewalAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tenant, kek, store := cached(t, WithTTL(time.Hour))
		require.NoError(t, works(tenant))
		time.Sleep(time.Minute)
		other, err := ringOver(t, store, newFlaky(t)).Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		_, err = other.Rotate(t.Context(), format.UseFile, classify.PHI, nil)
		require.NoError(t, err)
		time.Sleep(49 * time.Minute)
		require.EqualValues(t, 1, kek.calls.Load())
	})
}
