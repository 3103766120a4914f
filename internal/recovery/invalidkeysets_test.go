package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// damageKey alters a wrapped key of a tenant, so that its keyset can be read but does not open. It returns the
// document.
func (s *site) damageKey(tenant string) []byte {
	content, err := s.store().Get(s.t.Context(), keystore.Keysets, tenant)
	require.NoError(s.t, err)
	d, err := envelope.ParseDocument(content)
	require.NoError(s.t, err)
	key := &d.Keysets[0].Keys[0]
	key.Wrapped[len(key.Wrapped)-1] ^= 1
	damaged, err := d.Append(nil)
	require.NoError(s.t, err)
	keystoretest.Put(s.t, s.store(), keystore.Keysets, tenant, damaged)
	return damaged
}

// A keyset with a damaged key is copied, named and recorded, and so is one for which no KEK answered.
func TestBackupReportsInvalidKeysets(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 3)
	content, err := s.store().Get(t.Context(), keystore.Keysets, "tenant-1")
	require.NoError(t, err)
	damaged := s.damageKey("tenant-1")

	var file bytes.Buffer
	tenants, err := s.a().Backup(t.Context(), into(&file))
	require.Equal(t, 3, tenants)
	require.ErrorIs(t, err, keyring.ErrUnreadable)
	require.ErrorContains(t, err, `tenant "tenant-1"`)
	require.NotContains(t, err.Error(), "tenant-2")
	done, failed := s.events.end(t)
	require.Equal(t, []string{"3", "1"}, []string{done, failed})
	require.Contains(t, file.String(), string(damaged))

	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-2", content[:len(content)-1])
	_, err = s.a().Backup(t.Context(), into(io.Discard))
	require.ErrorContains(t, err, `tenant "tenant-1"`)
	require.ErrorContains(t, err, s.store().Location(keystore.Keysets, "tenant-2"))
	_, failed = s.events.end(t)
	require.Equal(t, "2", failed)
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-1", content)
	keystoretest.Put(t, s.store(), keystore.Keysets, "tenant-2", nil)

	r := s.under(kms.NewSet(&tiring{KEK: openKEK(t, urlA), left: 1})) // it unwraps the key of the backup only
	file.Reset()
	tenants, err = r.Backup(t.Context(), into(&file))
	require.Equal(t, 2, tenants)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.ErrorContains(t, err, "not all of them were opened")
	require.NotContains(t, err.Error(), "do not open")
	_, err = s.a().Drill(t.Context(), reading(file.Bytes()))
	require.NoError(t, err)
}

// If the store fails while the keysets are verified, its error is reported together with the keysets that do not
// open.
func TestBackupReportsStoreFailure(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 3)
	s.damageKey("tenant-0")
	store, keks := &failingPages{Store: s.store()}, kms.NewSet(openKEK(t, urlA))
	ring, err := keyring.New(store, keks, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	r := &recovery.Recovery{Keyring: ring, Store: store, KEKs: keks, Environment: "test", Audit: s.events}
	tenants, err := r.Backup(t.Context(), func(fill func(io.Writer) error) error {
		defer func() { store.fails = true }()
		return fill(io.Discard)
	})
	require.Equal(t, 3, tenants)
	require.ErrorIs(t, err, errPage)
	require.ErrorContains(t, err, "not all of them were opened")
	require.ErrorContains(t, err, `tenant "tenant-0"`)
}

var errPage = errors.New("the page cannot be read")

// failingPages is a store with one document per page. If fails is set, it returns only the first page.
type failingPages struct {
	keystore.Store
	fails bool
}

func (f *failingPages) Page(ctx context.Context, kind keystore.Kind, after string, _ int) ([]keystore.Document, string, error) {
	if f.fails && after != "" {
		return nil, "", errPage
	}
	return f.Store.Page(ctx, kind, after, 1)
}

// tiring is a KEK that unwraps a number of keys and is then unavailable.
type tiring struct {
	kms.KEK
	left int
}

func (k *tiring) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	if k.left == 0 {
		return nil, kms.ErrUnavailable
	}
	k.left--
	return k.KEK.Unwrap(ctx, wrapped, additional)
}
