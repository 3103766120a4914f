package keyring_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// soon is the time of a few checks on a busy machine.
const soon = keyring.CheckInterval + time.Minute

// If a store returns to an earlier state, running processes lose no key, and no shredding is undone.
func TestStoreRollbackLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := storeIn(t, dir)
	r := openRing(t, dir)
	tenant := tenantOf(t, r, "tenant")
	before, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	goBack := func() {
		now, err := store.Get(t.Context(), keystore.Keysets, "tenant")
		require.NoError(t, err)
		swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", now, before, 0)
		require.NoError(t, err)
		require.True(t, swapped)
	}
	whole := func() bool {
		now, err := store.Get(t.Context(), keystore.Keysets, "tenant")
		return err == nil && len(now) > len(before)
	}
	pkg := sealed(t, tenant, classify.PHI)
	goBack()
	require.Eventually(t, whole, soon, 10*time.Millisecond)
	opens(t, tenant, pkg)
	opens(t, tenantOf(t, openRing(t, dir), "tenant"), pkg)

	before, err = store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	require.NoError(t, r.Shred(t.Context(), "tenant"))
	goBack()
	require.Eventually(t, func() bool {
		d, err := r.Document(t.Context(), "tenant")
		return err == nil && d.Shredded()
	}, soon, 10*time.Millisecond)
	require.ErrorIs(t, openError(tenant, pkg), envelope.ErrKeyDestroyed)

	r.Close() // which drops what is in memory
	goBack()
	require.ErrorIs(t, openError(tenant, pkg), envelope.ErrKeyDestroyed)
	require.Equal(t, envelope.ErrKeyDestroyed, openError(tenantOf(t, openRing(t, dir), "tenant"), pkg))
}

// overtaken is a store in which another process changes the document just before a write, once.
type overtaken struct {
	keystore.Store
	by atomic.Pointer[func()]
}

func (o *overtaken) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	if by := o.by.Swap(nil); by != nil {
		(*by)()
	}
	return o.Store.Swap(ctx, kind, name, old, document, due)
}

// A document that is being restored is not forgotten if another process changes it concurrently.
func TestStoreRollbackWhileOthersWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := storeIn(t, dir)
	o := &overtaken{Store: store}
	r, err := keyring.New(o, kms.NewSet(newKEK(t)), "test")
	require.NoError(t, err)
	r.Close() // only explicit calls reload
	tenant := tenantOf(t, r, "tenant")
	before, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	pkg := sealed(t, tenant, classify.PHI)
	now, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", now, before, 0)
	require.NoError(t, err)
	require.True(t, swapped)

	var theirs []byte
	add := func() { theirs = sealed(t, tenantOf(t, openRing(t, dir), "tenant"), classify.PII) }
	o.by.Store(&add)
	require.NoError(t, tenant.Reload(t.Context()))
	require.NotNil(t, theirs)
	for _, k := range []*keyring.Tenant{tenant, tenantOf(t, openRing(t, dir), "tenant")} {
		opens(t, k, pkg)
		opens(t, k, theirs)
	}
}
