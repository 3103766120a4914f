package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func primary(t testing.TB, k seal.Keys) format.KeyID {
	t.Helper()
	id, err := k.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	return id
}

func rotate(t testing.TB, tenant *keyring.Tenant) format.KeyID {
	t.Helper()
	time.Sleep(2 * time.Millisecond) // keys are in order by the millisecond that they were made in
	id, err := tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	return id
}

func advance(r *keyring.Keyring, id format.KeyID, to envelope.State) error {
	return r.Advance(context.Background(), "tenant", format.UseCache, classify.PHI, id, to)
}

func openError(k seal.Keys, pkg []byte) error {
	_, err := seal.NewSealer(k).Open(context.Background(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: format.UseCache})
	return err
}

func rollback(r *keyring.Keyring, tenant string, to format.KeyID) error {
	return r.Edit(context.Background(), tenant, func(e *keyring.Edit) error { return e.Promote(format.UseCache, classify.PHI, to) })
}

// A new primary seals immediately, earlier packages open, and a rollback loses no package that was sealed in the
// meantime.
func TestRotateAndRollbackLoseNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := openRing(t, dir)
	tenant := tenantOf(t, r, "tenant")
	first := primary(t, tenant)
	packages := [][]byte{sealed(t, tenant, classify.PHI)}
	second := rotate(t, tenant)
	require.Equal(t, second, primary(t, tenant))
	require.NotEqual(t, first, second)
	packages = append(packages, sealed(t, tenant, classify.PHI))

	require.NoError(t, rollback(r, "tenant", first))
	require.Equal(t, first, primary(t, tenant))
	packages = append(packages, sealed(t, tenant, classify.PHI))
	require.ErrorIs(t, rollback(r, "tenant", format.KeyID{8}), envelope.ErrUnknownKey)
	for _, k := range []seal.Keys{tenant, tenantOf(t, openRing(t, dir), "tenant")} {
		for _, pkg := range packages {
			opens(t, k, pkg)
		}
	}

	never, err := tenant.Rotate(t.Context(), format.UseCache, classify.PHI, func(*envelope.Keyset) bool { return false })
	require.NoError(t, err)
	require.Equal(t, first, never)
	require.ErrorIs(t, rollback(r, "unknown", first), keyring.ErrNoTenant)
}

// The state of a key only advances, a primary is neither disabled nor destroyed, and each state has its error.
func TestAdvanceOnlyForward(t *testing.T) {
	t.Parallel()
	r := openRing(t, t.TempDir())
	tenant := tenantOf(t, r, "tenant")
	first, pkg := primary(t, tenant), sealed(t, tenant, classify.PHI)
	for _, to := range []envelope.State{envelope.Disabled, envelope.Destroyed} {
		require.ErrorIs(t, advance(r, first, to), keyring.ErrInUse)
	}
	rotate(t, tenant)
	require.NoError(t, advance(r, first, envelope.Compromised))
	opens(t, tenant, pkg)
	require.NoError(t, advance(r, first, envelope.Disabled))
	require.ErrorIs(t, openError(tenant, pkg), envelope.ErrKeyUnusable)
	require.ErrorIs(t, advance(r, first, envelope.Enabled), envelope.ErrInvalid)
	require.ErrorIs(t, advance(r, first, envelope.Compromised), envelope.ErrInvalid)
	require.NoError(t, advance(r, first, envelope.Destroyed))
	require.ErrorIs(t, openError(tenant, pkg), envelope.ErrKeyDestroyed)
	require.ErrorIs(t, rollback(r, "tenant", first), envelope.ErrKeyUnusable)
	require.ErrorIs(t, advance(r, format.KeyID{1}, envelope.Disabled), envelope.ErrUnknownKey)
}

// A shredded tenant is refused immediately in this process and within CheckInterval in others, and no key of the
// tenant is made again.
func TestShredIsFinal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := openRing(t, dir), openRing(t, dir)
	here, there := tenantOf(t, a, "tenant"), tenantOf(t, b, "tenant")
	pkg := sealed(t, here, classify.PHI)
	opens(t, there, pkg)
	require.NoError(t, a.Shred(t.Context(), "tenant"))
	require.ErrorIs(t, openError(here, pkg), envelope.ErrKeyDestroyed)
	require.Eventually(t, func() bool { return openError(there, pkg) == envelope.ErrKeyDestroyed }, soon, 10*time.Millisecond)
	for _, ring := range []*keyring.Keyring{a, b, openRing(t, dir)} {
		tenant := tenantOf(t, ring, "tenant")
		for _, use := range []format.Use{format.UseCache, format.UseField} {
			_, err := tenant.Primary(t.Context(), use, classify.PHI)
			require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
		}
		_, err := tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
	}
	require.NoError(t, a.Shred(t.Context(), "tenant"), "again is no error")
	require.ErrorIs(t, a.Shred(t.Context(), "unknown"), keyring.ErrNoTenant)
}

// Keys of a class that has its own KEK are under it from then on. Earlier keys still open. Without that KEK, the
// tenant cannot be unlocked.
func TestClassKEKWrapsKeysOfItsClass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	general := newKEK(t)
	before := sealed(t, tenantOf(t, openWith(t, dir, general), "tenant"), classify.PII)
	phi, err := kms.Open(t.Context(), otherURL)
	require.NoError(t, err)
	open := func(set kms.Set) *keyring.Keyring {
		store := storeIn(t, dir)
		r, err := keyring.New(store, set, "test")
		require.NoError(t, err)
		t.Cleanup(r.Close)
		return r
	}
	both := kms.NewSet(general).With(classify.PHI, phi)
	r := open(both)
	tenant := tenantOf(t, r, "tenant")
	opens(t, tenant, before)
	after := sealed(t, tenant, classify.PHI)
	sealed(t, tenant, classify.Internal)
	d, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.Len(t, d.Slots, 2)
	url := func(class classify.Class) string {
		root := d.Keyset(format.UseCache, class).Keys[0].Root
		for _, s := range d.Slots {
			if s.Root == root {
				return s.URL
			}
		}
		return ""
	}
	require.Equal(t, phi.URL(), url(classify.PHI))
	require.Equal(t, general.URL(), url(classify.PII))
	require.Equal(t, general.URL(), url(classify.Internal))
	opens(t, tenantOf(t, open(both), "tenant"), after)
	_, err = open(kms.NewSet(general)).Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	_, err = open(kms.NewSet(phi)).Tenant(t.Context(), "tenant")
	require.Error(t, err)
}

// A tenant's roots can be rewrapped by another KEK while both are in use. The former KEK opens nothing after its
// slots are retired.
func TestRewrapToAnotherKEK(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, next := openRing(t, dir), func() *keyring.Keyring {
		kek, err := kms.Open(t.Context(), otherURL)
		require.NoError(t, err)
		return openWith(t, dir, kek)
	}
	tenant := tenantOf(t, old, "tenant")
	pkg := sealed(t, tenant, classify.PHI)
	_, err := next().Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, kms.ErrWrongKey)
	kek, err := kms.Open(t.Context(), otherURL)
	require.NoError(t, err)
	prove := func(r *keyring.Keyring) (roots, keys int, err error) {
		d, err := old.Document(t.Context(), "tenant")
		require.NoError(t, err)
		return r.VerifyDocument(t.Context(), d)
	}
	_, _, err = prove(next())
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.NoError(t, old.Edit(t.Context(), "tenant", func(e *keyring.Edit) error { return e.WrapRoot(t.Context(), e.Roots()[0], kek) }))
	opens(t, tenant, pkg)
	opens(t, tenantOf(t, next(), "tenant"), pkg)
	opens(t, tenantOf(t, openRing(t, dir), "tenant"), pkg)
	roots, keys, err := prove(next())
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{roots, keys})
	require.NoError(t, next().Edit(t.Context(), "tenant", func(e *keyring.Edit) error {
		for _, s := range e.Slots {
			if s.URL != kek.URL() {
				return e.RetireSlot(s.ID)
			}
		}
		return nil
	}))
	opens(t, tenantOf(t, next(), "tenant"), pkg)
	_, err = openRing(t, dir).Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, kms.ErrWrongKey)
	_, _, err = prove(openRing(t, dir))
	require.ErrorIs(t, err, keyring.ErrUnreadable)
}

// Several processes over one Redis rotate, roll back and seal concurrently. In the end they agree on one primary, and
// every package opens.
func TestConcurrentRotationsAgreeOnOnePrimary(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	open := func() *keyring.Keyring {
		r, err := keyring.New(rediskeys.New(server.Client(t)), kms.NewSet(newKEK(t)), "test")
		require.NoError(t, err)
		t.Cleanup(r.Close)
		return r
	}
	tenantOf(t, open(), "tenant")
	var wg sync.WaitGroup
	packages := make([][][]byte, 4)
	failures := make(chan error, 1000)
	for i := range packages {
		r := open()
		tenant := tenantOf(t, r, "tenant")
		wg.Go(func() {
			var made format.KeyID
			for range 15 {
				var err error
				if rand.IntN(3) == 0 && made != (format.KeyID{}) {
					err = rollback(r, "tenant", made)
				} else {
					made, err = tenant.Rotate(context.Background(), format.UseCache, classify.PHI, nil)
				}
				pkg, err2 := seal.NewSealer(tenant).Seal(t.Context(), nil, request(classify.PHI), []byte("value"))
				if err != nil || err2 != nil {
					failures <- fmt.Errorf("%w, %w", err, err2)
				}
				packages[i] = append(packages[i], pkg)
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	last, fresh := open(), open()
	require.Equal(t, primary(t, tenantOf(t, last, "tenant")), primary(t, tenantOf(t, fresh, "tenant")))
	for _, some := range packages {
		for _, pkg := range some {
			opens(t, tenantOf(t, fresh, "tenant"), pkg)
		}
	}
}

// If many callers find a key due concurrently, one of them makes the new key.
func TestConcurrentRotationsWhenDueMakeOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := primary(t, tenantOf(t, openRing(t, dir), "tenant"))
	due := func(s *envelope.Keyset) bool { return s.Primary() == old }
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		tenant := tenantOf(t, openRing(t, dir), "tenant")
		wg.Go(func() { _, errs[i] = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, due) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	d, err := openRing(t, dir).Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.Len(t, d.Keyset(format.UseCache, classify.PHI).Keys, 2)
}
