package keyring_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Keys of one environment are rejected in another, even if the label in the file was changed.
func TestOtherEnvironmentIsRejected(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	prod, err := keyring.Open(dir, newKEK(t), "prod")
	require.NoError(t, err)
	tenantOf(t, prod, "tenant")
	prod.Close()
	_, err = openRing(t, dir).Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, keyring.ErrWrongEnvironment)
	require.ErrorContains(t, err, `"prod"`)

	store := storeIn(t, dir)
	for _, err := range openRing(t, dir).Documents(t.Context()) {
		require.ErrorIs(t, err, keyring.ErrWrongEnvironment, "a list does not leave it out")
		require.ErrorContains(t, err, store.Location(keystore.Keysets, "tenant"))
	}
	_, _, err = openRing(t, dir).DocumentPage(t.Context(), "", 10)
	require.ErrorIs(t, err, keyring.ErrWrongEnvironment)
	content, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", content, bytes.Replace(content, []byte("prod"), []byte("test"), 1), 0)
	require.NoError(t, err)
	require.True(t, swapped)
	_, err = openRing(t, dir).Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, keyring.ErrUnreadable)
}

// Two keyrings over one directory, as in two processes, make one set of keys and use each other's later keys.
func TestTwoProcessesShareKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := tenantOf(t, openRing(t, dir), "tenant"), tenantOf(t, openRing(t, dir), "tenant")
	var wg sync.WaitGroup
	var failed atomic.Int64
	for _, class := range classify.All {
		for use := format.UseStorage; use <= format.NumUses; use++ {
			for _, tenant := range []*keyring.Tenant{a, b} {
				wg.Go(func() {
					if _, err := tenant.Primary(t.Context(), use, class); err != nil {
						failed.Add(1)
					}
				})
			}
		}
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	c := tenantOf(t, openRing(t, dir), "tenant")
	for _, class := range classify.All {
		for use := format.UseStorage; use <= format.NumUses; use++ {
			want, err := c.Primary(t.Context(), use, class)
			require.NoError(t, err)
			for _, tenant := range []*keyring.Tenant{a, b} {
				got, err := tenant.Primary(t.Context(), use, class)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
	}
}

// A key that another process made later is found when its first package is opened.
func TestKeyOfAnotherProcessIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := tenantOf(t, openRing(t, dir), "tenant"), tenantOf(t, openRing(t, dir), "tenant")
	pkg := sealed(t, a, classify.PHI)
	opens(t, b, pkg)
}

// If two processes start with an empty directory concurrently, they agree on one root.
func TestConcurrentCreationMakesOneRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	tenants, errs := make([]*keyring.Tenant, 8), make([]error, 8)
	for i := range tenants {
		r := openRing(t, dir)
		wg.Go(func() { tenants[i], errs[i] = r.Tenant(t.Context(), "tenant") })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	pkg := sealed(t, tenants[0], classify.PHI)
	for _, tenant := range tenants {
		opens(t, tenant, pkg)
	}
}

func TestPrimaryRefusesInvalidUseAndClass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenant := tenantOf(t, openRing(t, dir), "tenant")
	before := documentIn(t, dir, "tenant")
	for _, c := range []struct {
		use   format.Use
		class classify.Class
	}{{0, classify.PHI}, {6, classify.PHI}, {format.UseCache, 0}, {format.UseCache, 6}, {255, 255}} {
		_, err := tenant.Primary(t.Context(), c.use, c.class)
		require.ErrorIs(t, err, envelope.ErrKeyUnusable)
	}
	h := format.Header{Source: format.FromKeyset, Use: format.UseCache, Class: 5}
	require.ErrorIs(t, tenant.CheckOpen(t.Context(), &h, envelope.OpenPolicy{Use: format.UseCache}), envelope.ErrUnknownKey)
	_, err := tenant.MessageCipher(t.Context(), format.KeyID{}, format.Salt{})
	require.ErrorIs(t, err, envelope.ErrUnknownKey)
	require.Equal(t, before, documentIn(t, dir, "tenant"), "reading makes no key")
}

func TestOpenRefusesUnusableDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := keyring.Open(path, newKEK(t), "test")
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.ErrorContains(t, err, path)
	require.False(t, errors.Is(err, os.ErrNotExist))
}
