package keyring_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// mute is a store in which changes are made, but not announced. It counts how often somebody asked whether
// there are any.
type mute struct {
	kv.Store
	on    atomic.Bool
	asked atomic.Int64
}

func (m *mute) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if strings.Contains(key, "generation") {
		m.asked.Add(1)
	}
	return m.Store.Get(ctx, key)
}

// look waits until the keyring of the store has seen what there is.
func (m *mute) look(t *testing.T) {
	t.Helper()
	before := m.asked.Load()
	require.Eventually(t, func() bool { return m.asked.Load() >= before+2 }, soon, 10*time.Millisecond) // the second time, it is through with the first
}

func (m *mute) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if m.on.Load() && strings.Contains(key, "generation") {
		return kv.ErrUnavailable
	}
	return m.Store.Set(ctx, key, value, ttl)
}

func ringOver(t *testing.T, store kv.Store, options ...keyring.Option) *keyring.Keyring {
	r, err := keyring.New(keystore.OverKV(store), kms.NewSet(newKEK(t)), "test", options...)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// soon is within some looks, on a busy machine.
const soon = keyring.CheckInterval + time.Minute

func refusedSoon(t *testing.T, k *keyring.Tenant, pkg []byte) {
	t.Helper()
	require.Eventually(t, func() bool { return openError(k, pkg) == envelope.ErrKeyDestroyed }, soon, 10*time.Millisecond)
}

// A shredding whose announcement was lost is seen once it is repeated, and also if it is not.
func TestShredUnannounced(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	calm, nervous, m := &mute{Store: store}, &mute{Store: store}, &mute{Store: store}
	server, restless, operator := ringOver(t, calm, keyring.WithLookAnyway(time.Hour)), ringOver(t, nervous, keyring.WithLookAnyway(2*keyring.CheckInterval)), ringOver(t, m)
	here, there := tenantOf(t, server, "tenant"), tenantOf(t, restless, "tenant")
	pkg := sealed(t, here, classify.PHI)
	opens(t, there, pkg)
	calm.look(t)
	m.on.Store(true)
	require.ErrorIs(t, operator.Shred(t.Context(), "tenant"), keyring.ErrUnreadable)
	refusedSoon(t, there, pkg)
	calm.look(t)
	opens(t, here, pkg)
	m.on.Store(false)
	require.NoError(t, operator.Shred(t.Context(), "tenant"))
	refusedSoon(t, here, pkg)
}

// A store that went back to an earlier state takes away no key that a running process has, and brings back
// nothing that was shredded.
func TestStoreGoesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	r := openRing(t, dir)
	tenant := tenantOf(t, r, "tenant")
	before, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	goBack := func() {
		now, err := store.Get(t.Context(), keystore.Keysets, "tenant")
		require.NoError(t, err)
		swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", now, before)
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

// overtaken is a store in which another process's change comes just before one's own, once.
type overtaken struct {
	keystore.Store
	by atomic.Pointer[func()]
}

func (o *overtaken) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte) (bool, error) {
	if by := o.by.Swap(nil); by != nil {
		(*by)()
	}
	return o.Store.Swap(ctx, kind, name, old, document)
}

// What is brought back is not forgotten where another process changes the document at the same moment.
func TestStoreGoesBackWhileOthersWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	o := &overtaken{Store: store}
	r, err := keyring.New(o, kms.NewSet(newKEK(t)), "test")
	require.NoError(t, err)
	r.Close() // nobody looks but who is told to
	tenant := tenantOf(t, r, "tenant")
	before, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	pkg := sealed(t, tenant, classify.PHI)
	now, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", now, before)
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

// A new key goes under a root that can still be opened, though another one is in memory.
func TestNoKeyUnderAGoneRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := keystore.OpenDirectory(dir)
	require.NoError(t, err)
	r := openRing(t, dir)
	r.Close() // nobody looks but who is told to
	tenant := tenantOf(t, r, "tenant")
	elsewhere := openRing(t, t.TempDir()) // whose root is in the document too, as after a restore
	tenantOf(t, elsewhere, "tenant")
	other, err := elsewhere.Document(t.Context(), "tenant")
	require.NoError(t, err)
	d, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	old, err := d.Append(nil)
	require.NoError(t, err)
	first := d.Slots[0].ID
	require.NoError(t, d.AddSlot(other.Slots[0]))
	require.NoError(t, d.DestroySlot(first))
	changed, err := d.Append(nil)
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", old, changed)
	require.NoError(t, err)
	require.True(t, swapped)
	pkg := sealed(t, tenant, classify.PHI)
	opens(t, tenantOf(t, openRing(t, dir), "tenant"), pkg)
}
