package keyring

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func replaceRoots(t *testing.T, r *Keyring) error {
	return r.Edit(t.Context(), "tenant", func(e *Edit) error { return e.ReplaceRoots(t.Context()) })
}

// A leaked root opens no key that is made after it was replaced, and a merge with an earlier copy does not bring it
// back.
func TestReplacedRootStaysReplaced(t *testing.T) {
	store := keystoretest.NewMemory()
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	before, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	leaked := tenant.openedRoots()
	require.NoError(t, replaceRoots(t, r))
	require.NoError(t, works(tenant))
	_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	now, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.Len(t, now.Roots(), 1)
	require.EqualValues(t, 2, now.Roots()[0].Generation)
	require.Nil(t, leaked[now.Roots()[0]].key)
	for _, k := range now.Keyset(format.UseCache, classify.PHI).Keys {
		for _, root := range leaked {
			_, err := root.key.Unwrap(k.Wrapped, now.KeyBinding(format.UseCache, uint8(classify.PHI), k.ID))
			require.ErrorIs(t, err, envelope.ErrAuthentication)
		}
	}
	_, after, err := r.RestoreDocument(t.Context(), before, Tombstones{})
	require.NoError(t, err)
	require.Equal(t, now.Roots(), after.Roots())
	require.NoError(t, works(tenant))
	fresh, err := ringOver(t, store, newFlaky(t)).Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(fresh))
}

// Two copies of a document that changed independently, one under a new root, merge so that every package opens and no
// state is lost.
func TestMergeMovesKeysToTheNewRoot(t *testing.T) {
	store := keystoretest.NewMemory()
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	base, err := store.Get(t.Context(), keystore.Keysets, "tenant")
	require.NoError(t, err)
	first, err := tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	d, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	former := d.Keyset(format.UseCache, classify.PHI).Keys[0].ID
	if former == first {
		former = d.Keyset(format.UseCache, classify.PHI).Keys[1].ID
	}
	require.NoError(t, r.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Compromised))
	rotated, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)

	other := keystoretest.NewMemory()
	_, err = other.Swap(t.Context(), keystore.Keysets, "tenant", nil, base, 0)
	require.NoError(t, err)
	elsewhere := ringOver(t, other, newFlaky(t))
	require.NoError(t, replaceRoots(t, elsewhere))
	_, merged, err := elsewhere.RestoreDocument(t.Context(), rotated, Tombstones{})
	require.NoError(t, err)
	require.Len(t, merged.Roots(), 1, "the key that was made under the former root was moved")
	require.Equal(t, envelope.Compromised, merged.Keyset(format.UseCache, classify.PHI).Key(former).State)
	joined, err := elsewhere.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(joined))
}

// An attacker with write access to the store cannot make a server seal under a leaked key.
func TestForgedDocumentIsRefused(t *testing.T) {
	for name, forge := range map[string]func(d *envelope.Document, leaked format.KeyID){
		"state": func(d *envelope.Document, leaked format.KeyID) {
			d.Keyset(format.UseCache, classify.PHI).Key(leaked).State = envelope.Enabled
		},
		"primary": func(d *envelope.Document, leaked format.KeyID) {
			d.Keyset(format.UseCache, classify.PHI).Primaries[0].KeyID = leaked
		},
		"destroyed": func(d *envelope.Document, leaked format.KeyID) {
			k := d.Keyset(format.UseCache, classify.PHI).Key(leaked)
			k.State, k.Wrapped = envelope.Destroyed, nil
		},
		"shredded": func(d *envelope.Document, _ format.KeyID) {
			_ = d.Shred(1)
			d.Shreds[0].MAC[0] = 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := keystoretest.NewMemory()
			r := ringOver(t, store, newFlaky(t))
			tenant, err := r.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			require.NoError(t, works(tenant))
			d, err := r.Document(t.Context(), "tenant")
			require.NoError(t, err)
			leaked := d.Keyset(format.UseCache, classify.PHI).Primary()
			_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
			require.NoError(t, err)
			require.NoError(t, r.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, leaked, envelope.Compromised))
			old, err := store.Get(t.Context(), keystore.Keysets, "tenant")
			require.NoError(t, err)
			d, err = envelope.ParseDocument(old)
			require.NoError(t, err)
			forge(d, leaked)
			forged, err := d.Append(nil)
			require.NoError(t, err)
			swapped, err := store.Swap(t.Context(), keystore.Keysets, "tenant", old, forged, 0)
			require.NoError(t, err)
			require.True(t, swapped)
			fresh := ringOver(t, store, newFlaky(t))
			if other, err := fresh.Tenant(t.Context(), "tenant"); err == nil {
				err = works(other)
				require.ErrorIs(t, err, ErrUnreadable)
			} else {
				require.ErrorIs(t, err, ErrUnreadable)
			}
			_ = tenant.Reload(t.Context())
			require.Error(t, r.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, leaked, envelope.Disabled), "an edit verifies first")
		})
	}
}

// Shredding works while the KMS is unavailable if the system document is unlocked.
func TestShredWithoutKMS(t *testing.T) {
	store, kek := keystoretest.NewMemory(), newFlaky(t)
	r := ringOver(t, store, kek)
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	system, err := r.System(t.Context())
	require.NoError(t, err)
	for _, use := range []format.Use{envelope.UseTokens, envelope.UseShreds, envelope.UseAudit} {
		key, err := system.Key(t.Context(), use)
		require.NoError(t, err)
		again, err := system.Key(t.Context(), use)
		require.NoError(t, err)
		require.Equal(t, key.ID(), again.ID())
	}
	kek.down.Store(true)
	require.NoError(t, r.Shred(t.Context(), "tenant"))
	require.ErrorIs(t, works(tenant), envelope.ErrKeyDestroyed)
	require.Empty(t, tenant.openedRoots(), "the roots have gone with the keys")
	other := ringOver(t, store, newFlaky(t))
	again, err := other.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.ErrorIs(t, works(again), envelope.ErrKeyDestroyed)
	require.ErrorIs(t, r.Shred(t.Context(), ""), ErrInvalidTenant, "the system document is not shredded")
}

// A tenant whose roots were replaced under another KEK opens without the former KEK.
func TestReplacedRootsOpenWithoutFormerKEK(t *testing.T) {
	store, former := keystoretest.NewMemory(), newFlaky(t)
	next := localKEK(t, "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	r, err := New(store, kms.NewSet(next).WithFormer(former), "test")
	require.NoError(t, err)
	t.Cleanup(r.Close)
	maker := ringOver(t, store, former)
	made, err := maker.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(made))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	op, err := New(store, kms.NewSet(next).WithFormer(former), "test")
	require.NoError(t, err)
	t.Cleanup(op.Close)
	require.NoError(t, op.Edit(t.Context(), "tenant", func(e *Edit) error {
		for _, root := range e.Roots() {
			if err := e.WrapRoot(t.Context(), root, next); err != nil {
				return err
			}
		}
		_, err := e.RetireSlots(func(s envelope.Slot) bool { return s.URL == former.URL() })
		return err
	}))
	require.NoError(t, replaceRoots(t, op))
	d, err := op.Document(t.Context(), "tenant")
	require.NoError(t, err)
	for _, s := range d.Slots {
		require.Equal(t, next.URL(), s.URL)
	}
	require.NoError(t, tenant.Reload(t.Context()))
	former.down.Store(true)
	require.NoError(t, works(tenant))
}

// During a rewrap, new roots are wrapped by the configured KEK, not by the former one.
func TestReplaceRootsDuringARewrap(t *testing.T) {
	store, former := keystoretest.NewMemory(), newFlaky(t)
	next := localKEK(t, "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	r := ringOver(t, store, former)
	op, err := New(store, kms.NewSet(next).WithFormer(former), "test")
	require.NoError(t, err)
	t.Cleanup(op.Close)
	for i := range 16 { // slots are in random order
		id := fmt.Sprint("tenant-", i)
		_, err := r.Tenant(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, op.Edit(t.Context(), id, func(e *Edit) error { return e.WrapRoot(t.Context(), e.Roots()[0], next) }))
		require.NoError(t, op.Edit(t.Context(), id, func(e *Edit) error { return e.ReplaceRoots(t.Context()) }))
		d, err := op.Document(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, d.Slots, 1)
		require.Equal(t, next.URL(), d.Slots[0].URL)
	}
}

// The system document stays unlocked if another process replaces its roots, so that shredding works without the KMS.
func TestSystemDocumentStaysUnlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, kek, store := cached(t)
		_, err := r.shredKey(t.Context())
		require.NoError(t, err)
		require.NoError(t, ringOver(t, store, newFlaky(t)).Edit(t.Context(), systemID, func(e *Edit) error { return e.ReplaceRoots(t.Context()) }))
		time.Sleep(3 * time.Second)
		kek.down.Store(true)
		require.NoError(t, r.Shred(t.Context(), "tenant"))
	})
}

// New MACs are made with the primary, whatever the order of the keys, and former keys are found.
func TestSystemKeyIsThePrimary(t *testing.T) {
	r := ringOver(t, keystoretest.NewMemory(), newFlaky(t))
	system, err := r.System(t.Context())
	require.NoError(t, err)
	var made []format.KeyID
	for range 8 {
		key := secret.New()
		made = append(made, key.ID())
		require.NoError(t, r.Edit(t.Context(), systemID, func(e *Edit) error { return e.AddKey(t.Context(), envelope.UseTokens, 0, key) }))
		primary, err := system.Key(t.Context(), envelope.UseTokens)
		require.NoError(t, err)
		require.Equal(t, key.ID(), primary.ID())
		for _, id := range made {
			found, err := system.KeyByID(t.Context(), envelope.UseTokens, id)
			require.NoError(t, err)
			require.Equal(t, id, found.ID())
		}
	}
	_, err = system.KeyByID(t.Context(), envelope.UseTokens, format.KeyID{1})
	require.ErrorIs(t, err, envelope.ErrUnknownKey)
}
