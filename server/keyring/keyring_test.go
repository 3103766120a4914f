package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var (
	_ seal.Keys = (*keyring.Tenant)(nil)
	_ seal.Keys = (*keyring.Vault)(nil)
)

const (
	kekURL   = "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	otherURL = "base64key://BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// counting is a KEK that counts its calls, and can wait or fail.
type counting struct {
	kms.KEK
	unwraps atomic.Int64
	fail    atomic.Bool
	gate    chan struct{} // closed, or nil, lets unwraps through
}

func newKEK(t testing.TB) *counting {
	kek, err := kms.Open(t.Context(), kekURL)
	require.NoError(t, err)
	return &counting{KEK: kek}
}

func (c *counting) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	c.unwraps.Add(1)
	if c.gate != nil {
		<-c.gate
	}
	if c.fail.Load() {
		return nil, kms.ErrUnavailable
	}
	return c.KEK.Unwrap(ctx, wrapped, additionalData)
}

func openRing(t testing.TB, dir string) *keyring.Keyring {
	return openWith(t, dir, newKEK(t))
}

func openWith(t testing.TB, dir string, kek kms.KEK, options ...keyring.Option) *keyring.Keyring {
	r, err := keyring.Open(dir, kek, "test", options...)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func tenantOf(t testing.TB, r *keyring.Keyring, id string) *keyring.Tenant {
	tenant, err := r.Tenant(t.Context(), id)
	require.NoError(t, err)
	return tenant
}

func request(class classify.Class) seal.Request {
	return seal.Request{Use: format.UseCache, Class: class, Type: format.Bytes}
}

func sealed(t testing.TB, k seal.Keys, class classify.Class) []byte {
	pkg, err := seal.NewSealer(k).Seal(t.Context(), nil, request(class), []byte("value"))
	require.NoError(t, err)
	return pkg
}

func opens(t testing.TB, k seal.Keys, pkg []byte) {
	t.Helper()
	o, err := seal.NewSealer(k).Open(t.Context(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: format.UseCache})
	require.NoError(t, err)
	require.Equal(t, "value", string(o.Value))
}

// storeIn returns the store of a directory.
func storeIn(t testing.TB, dir string) keystore.Store {
	store, err := sqlitekeys.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// documentIn returns a tenant's document in a directory.
func documentIn(t testing.TB, dir, id string) []byte {
	content, err := storeIn(t, dir).Get(t.Context(), keystore.Keysets, id)
	require.NoError(t, err)
	return content
}

// Packages sealed before a restart open afterwards, and keys are made once.
func TestKeysSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "keys")
	first := tenantOf(t, openRing(t, dir), "tenant")
	require.Equal(t, "tenant", first.Owner())
	var packages [][]byte
	for _, class := range classify.All {
		packages = append(packages, sealed(t, first, class))
	}
	second := tenantOf(t, openRing(t, dir), "tenant")
	for i, class := range classify.All {
		opens(t, second, packages[i])
		a, err := first.Primary(t.Context(), format.UseCache, class)
		require.NoError(t, err)
		b, err := second.Primary(t.Context(), format.UseCache, class)
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
	info, err := os.Stat(filepath.Join(dir, "keys.db"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// Every valid id is a tenant of its own, and no id leaves the directory.
func TestTenantIDsAreDistinct(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "keys")
	r := openRing(t, dir)
	ids := []string{"a", "A", "../a", "/etc/a", "a/../b", ".", "..", ".lock", "a\x00b", "é", "e\u0301", "CON", strings.Repeat("é", 127) + "x"}
	for _, id := range ids {
		require.Equal(t, id, tenantOf(t, r, id).Owner())
	}
	stored := 0
	for _, err := range keystore.All(t.Context(), storeIn(t, dir), keystore.Keysets) {
		require.NoError(t, err)
		stored++
	}
	require.Equal(t, len(ids), stored)
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	for _, id := range []string{"", "\xff", strings.Repeat("x", format.MaxOwner+1)} {
		_, err := r.Tenant(t.Context(), id)
		require.ErrorIs(t, err, keyring.ErrInvalidTenant)
	}
	for _, label := range []string{"\xff", strings.Repeat("x", envelope.MaxEnvironment+1)} {
		_, err := keyring.Open(dir, newKEK(t), label)
		require.ErrorIs(t, err, keyring.ErrInvalidTenant)
	}
	pkg := sealed(t, tenantOf(t, r, "a"), classify.PHI)
	_, err = seal.NewSealer(tenantOf(t, r, "A")).Open(t.Context(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: format.UseCache})
	require.ErrorIs(t, err, envelope.ErrUnknownKey)
}

// A thousand concurrent first reads make one call of the KEK; later reads make no call.
func TestConcurrentUnlocksCallTheKEKOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenantOf(t, openRing(t, dir), "tenant")
	kek := newKEK(t)
	kek.gate = make(chan struct{})
	r, err := keyring.Open(dir, kek, "test")
	require.NoError(t, err)
	var wg sync.WaitGroup
	tenants, errs := make([]*keyring.Tenant, 1000), make([]error, 1000)
	for i := range tenants {
		wg.Go(func() { tenants[i], errs[i] = r.Tenant(t.Context(), "tenant") })
	}
	close(kek.gate)
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, tenant := range tenants {
		require.Same(t, tenants[0], tenant)
	}
	require.EqualValues(t, 1, kek.unwraps.Load())
}

// A caller that stops waiting gets its context's error; the unlock continues for the others.
func TestCanceledCallerDoesNotCancelTheUnlock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenantOf(t, openRing(t, dir), "tenant")
	kek := newKEK(t)
	kek.gate = make(chan struct{})
	r, err := keyring.Open(dir, kek, "test")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Tenant(ctx, "tenant")
	require.ErrorIs(t, err, context.Canceled)
	close(kek.gate)
	tenantOf(t, r, "tenant")
	require.EqualValues(t, 1, kek.unwraps.Load())
}

// A KEK that fails is called again later, and a tenant that could not be created leaves no document.
func TestFailedKEKIsRetried(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenantOf(t, openRing(t, dir), "tenant")
	kek := newKEK(t)
	kek.fail.Store(true)
	r, err := keyring.Open(dir, kek, "test")
	require.NoError(t, err)
	for range 2 {
		_, err = r.Tenant(t.Context(), "tenant")
		require.ErrorIs(t, err, kms.ErrUnavailable)
		require.Equal(t, "keyring_unavailable", codes.Of(err).Code)
	}
	kek.fail.Store(false)
	tenantOf(t, r, "tenant")
}

func TestWrongKEKIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tenantOf(t, openRing(t, dir), "tenant")
	before := documentIn(t, dir, "tenant")
	other, err := kms.Open(t.Context(), otherURL)
	require.NoError(t, err)
	r, err := keyring.Open(dir, other, "test")
	require.NoError(t, err)
	_, err = r.Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, kms.ErrWrongKey)
	require.ErrorContains(t, err, storeIn(t, dir).Location(keystore.Keysets, "tenant"))
	require.ErrorContains(t, err, other.URL())
	require.NotContains(t, err.Error(), strings.TrimPrefix(otherURL, "base64key://"))
	require.Equal(t, before, documentIn(t, dir, "tenant"))
}

// Two processes with the same passphrase open each other's keys. Another passphrase is distinguished from tampering.
func TestWrongPassphraseIsNotTampering(t *testing.T) {
	dir := t.TempDir()
	ring := func(text string) *keyring.Keyring {
		kek, err := kms.NewPassphrase(text, classify.MinWriteIterations)
		require.NoError(t, err)
		r, err := keyring.Open(dir, kek, "test", keyring.WithUnlockTimeout(10*time.Minute)) // a passphrase takes its time under the race detector
		require.NoError(t, err)
		return r
	}
	pkg := sealed(t, tenantOf(t, ring("a passphrase"), "tenant"), classify.PHI)
	opens(t, tenantOf(t, ring("a passphrase"), "tenant"), pkg)
	_, err := ring("another").Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, kms.ErrWrongKey)
	require.Equal(t, "key_unusable", codes.Of(err).Code)

	r := ring("a passphrase")
	tenantOf(t, r, "another tenant")
	store := storeIn(t, dir)
	whole, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	altered := bytes.Clone(whole)
	altered[bytes.Index(whole, []byte(kms.PassphraseURL))+len(kms.PassphraseURL)+2] ^= 1 // the salt
	keystoretest.Put(t, store, keystore.Keysets, "tenant", altered)
	_, err = r.Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, keyring.ErrAltered, "the passphrase opened another keyset")
	keystoretest.Put(t, store, keystore.Keysets, "tenant", whole)
	require.NoError(t, r.CheckRejected(t.Context()), "it was restored before anybody asked")
	keystoretest.Put(t, store, keystore.Keysets, "tenant", altered)
	_, err = r.Tenant(t.Context(), "tenant")
	require.ErrorIs(t, err, keyring.ErrAltered)
	require.ErrorIs(t, r.CheckRejected(t.Context()), keyring.ErrAltered)
	keystoretest.Put(t, store, keystore.Keysets, "tenant", whole)
	require.NoError(t, r.CheckRejected(t.Context()), "it was restored")
	opens(t, tenantOf(t, r, "tenant"), pkg)
}
