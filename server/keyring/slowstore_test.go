package keyring

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
)

// ailing is a store whose Get fails. For the tenant "other" it blocks until its caller's context ends.
type ailing struct {
	*keystoretest.Memory
	fails, hangs atomic.Bool
	gets         atomic.Int64
}

func (a *ailing) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	a.gets.Add(1)
	if a.hangs.Load() && name == "other" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if a.fails.Load() {
		return nil, keystore.ErrUnavailable
	}
	return a.Memory.Get(ctx, kind, name)
}

// A renewal that fails for another reason than the KEK is retried a few times per minute, not as often as the KEK
// permits.
func TestFailedRenewalsDoNotStorm(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(*ailing, *flaky)
		tries func(*ailing, *flaky) int64
	}{
		"the keystore fails": {
			func(a *ailing, _ *flaky) { a.fails.Store(true) }, func(a *ailing, _ *flaky) int64 { return a.gets.Load() },
		},
		"the root does not unwrap": {
			func(_ *ailing, f *flaky) { f.altered.Store(true) }, func(_ *ailing, f *flaky) int64 { return f.calls.Load() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, kek := &ailing{Memory: keystoretest.NewMemory()}, newFlaky(t)
				r := ringOver(t, store, kek, WithTTL(time.Hour))
				tenant, err := r.Tenant(t.Context(), "tenant")
				require.NoError(t, err)
				require.NoError(t, works(tenant))
				time.Sleep(30 * time.Minute)
				c.fail(store, kek)
				before := c.tries(store, kek)
				time.Sleep(25 * time.Minute)
				require.NoError(t, works(tenant))
				tries := c.tries(store, kek) - before
				require.Greater(t, tries, int64(1), "it is tried again")
				require.Less(t, tries, int64(30))
				store.fails.Store(false)
				kek.altered.Store(false)
				time.Sleep(4 * time.Minute)
				require.Less(t, tenant.ring.now().since(tenant.state.Load().since), 5*time.Minute, "it is renewed")
			})
		})
	}
}

// Keys are not used after their TTL, even if dropping them waits for a keystore that does not answer.
func TestKeysExpireWhileTheKeystoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, kek := &ailing{Memory: keystoretest.NewMemory()}, newFlaky(t)
		r := ringOver(t, store, kek, WithTTL(15*time.Minute))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		_, err = r.Tenant(t.Context(), "other")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		time.Sleep(3 * time.Second) // the feed has been read
		kek.down.Store(true)
		store.hangs.Store(true)
		time.Sleep(14 * time.Minute)
		require.NoError(t, works(tenant))
		time.Sleep(time.Minute)
		require.Error(t, works(tenant))
		time.Sleep(2 * time.Minute)
		require.Nil(t, tenant.state.Load(), "they are dropped soon")
	})
}

// A tenant whose KEK does not answer does not delay the changes of other tenants.
func TestChangesAreSeenWhileTheKMSHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, kek := keystoretest.NewMemory(), newFlaky(t)
		slow := &slowKEK{KEK: kek}
		r, other := ringOver(t, store, slow), ringOver(t, store, kek)
		for _, id := range []string{"tenant", "anew"} {
			tenant, err := r.Tenant(t.Context(), id)
			require.NoError(t, err)
			require.NoError(t, works(tenant))
		}
		_, err := r.shredKey(t.Context())
		require.NoError(t, err)
		time.Sleep(3500 * time.Millisecond)
		slow.hangs.Store(true)
		store.LoseDocuments(keystore.Keysets, "anew")
		_, err = other.Tenant(t.Context(), "anew")
		require.NoError(t, err)
		time.Sleep(CheckInterval)
		require.NoError(t, other.Shred(t.Context(), "tenant"))
		time.Sleep(3 * time.Second)
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.Error(t, works(tenant))
		slow.hangs.Store(false)
		time.Sleep(time.Minute)
		d, err := r.Document(t.Context(), "anew")
		require.NoError(t, err)
		require.Len(t, d.Lines(), 2, "both documents are joined")
	})
}

// A keystore that does not answer for one tenant does not delay the changes of other tenants.
func TestChangesAreSeenWhileADocumentHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ailing{Memory: keystoretest.NewMemory()}
		r, another := ringOver(t, store, newFlaky(t)), ringOver(t, store.Memory, newFlaky(t))
		var tenants [2]*Tenant
		for i, id := range []string{"tenant", "other"} {
			var err error
			tenants[i], err = r.Tenant(t.Context(), id)
			require.NoError(t, err)
			require.NoError(t, works(tenants[i]))
		}
		_, err := r.shredKey(t.Context())
		require.NoError(t, err)
		time.Sleep(3500 * time.Millisecond)
		store.hangs.Store(true)
		require.NoError(t, another.Shred(t.Context(), "other"))
		time.Sleep(CheckInterval)
		require.NoError(t, another.Shred(t.Context(), "tenant"))
		time.Sleep(3 * time.Second)
		require.Error(t, works(tenants[0]))
		store.hangs.Store(false)
		time.Sleep(2 * r.unlockTimeout)
		require.Error(t, works(tenants[1]))
	})
}

// slowKEK is a KEK that can block until its caller's context ends.
type slowKEK struct {
	kms.KEK
	hangs atomic.Bool
}

func (s *slowKEK) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	if s.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.KEK.Unwrap(ctx, wrapped, additionalData)
}

// A canceled call does not count as a failure of the KEKs. Failures of calls that were made at one rate slow it down
// once.
func TestCanceledCallIsNotAFailureOfTheKEK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ringOver(t, keystoretest.NewMemory(), newFlaky(t))
		r.health.record(context.Canceled)
		_, err := r.KEKHealth()
		require.NoError(t, err)
		require.EqualValues(t, maxRate, r.health.pace.Limit())
		for range 10 {
			r.health.record(kms.ErrUnavailable)
		}
		require.EqualValues(t, maxRate/2, r.health.pace.Limit())
		time.Sleep(slowdownInterval)
		r.health.record(kms.ErrThrottled)
		require.EqualValues(t, maxRate/4, r.health.pace.Limit())
		for range 12 {
			time.Sleep(slowdownInterval)
			r.health.record(kms.ErrUnavailable)
		}
		require.InDelta(t, minRate, float64(r.health.pace.Limit()), 0.01)
		r.health.record(nil)
		require.EqualValues(t, recoveryRate, r.health.pace.Limit())
	})
}

// A server logs once, not at every check, that it cannot follow changes. It logs again if another document fails.
func TestFailedChecksAreLoggedOnce(t *testing.T) {
	var lines bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&lines, nil)))
	logged := func() (n int) {
		synctest.Wait()
		defer lines.Reset()
		return bytes.Count(lines.Bytes(), []byte("\n"))
	}
	synctest.Test(t, func(t *testing.T) {
		store := &feedless{Memory: keystoretest.NewMemory()}
		r := ringOver(t, store, newFlaky(t))
		var tenants [2]*Tenant
		for i := range tenants {
			var err error
			tenants[i], err = r.Tenant(t.Context(), fmt.Sprint(i))
			require.NoError(t, err)
		}
		time.Sleep(3500 * time.Millisecond)
		require.Zero(t, logged())
		for i := range tenants {
			keystoretest.Put(t, store, keystore.Keysets, fmt.Sprint(i), []byte("damaged"))
			time.Sleep(time.Minute)
			require.Equal(t, 1, logged())
		}
		for range 2 {
			store.fails.Store(true)
			time.Sleep(time.Minute)
			require.Equal(t, 1, logged())
			store.fails.Store(false)
			time.Sleep(time.Minute)
			require.Zero(t, logged())
		}
		runtime.KeepAlive(tenants)
	})
}
