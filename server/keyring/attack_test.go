package keyring

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// put replaces a document in the store, as an attacker with write access to the store can.
func put(t *testing.T, store keystore.Store, owner string, d *envelope.Document) {
	old, err := store.Get(t.Context(), keystore.Keysets, owner)
	require.NoError(t, err)
	content, err := d.Append(nil)
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, owner, old, content, 0)
	require.NoError(t, err)
	require.True(t, swapped)
}

// No shred record, forged or not, ends the keys of the system document.
func TestSystemDocumentIsNotShredded(t *testing.T) {
	store := keystoretest.NewMemory()
	r := ringOver(t, store, newFlaky(t))
	system, err := r.System(t.Context())
	require.NoError(t, err)
	key, err := system.Key(t.Context(), envelope.UseShreds)
	require.NoError(t, err)
	d, err := r.SystemDocument(t.Context())
	require.NoError(t, err)
	forged := &envelope.Document{Environment: d.Environment, Owner: "x", Shreds: []envelope.ShredRecord{{Line: d.Lines()[0], ShreddedAt: 1, MAC: [32]byte{1}}}}
	content, err := forged.Append(nil)
	require.NoError(t, err)
	owner := 6 + len(d.Environment)
	content = slices.Concat(content[:owner], []byte{0, 0}, content[owner+3:])
	old, err := store.Get(t.Context(), keystore.Keysets, systemID)
	require.NoError(t, err)
	swapped, err := store.Swap(t.Context(), keystore.Keysets, systemID, old, content, 0)
	require.NoError(t, err)
	require.True(t, swapped)
	require.ErrorIs(t, r.system.Reload(t.Context()), ErrUnreadable)
	again, err := system.Key(t.Context(), envelope.UseShreds)
	require.NoError(t, err)
	require.Equal(t, key.ID(), again.ID())
	_, err = ringOver(t, store, newFlaky(t)).System(t.Context())
	require.ErrorIs(t, err, ErrUnreadable)
}

// A leaked root does not return under a higher generation, although the KEK still unwraps it.
func TestLeakedRootDoesNotComeBack(t *testing.T) {
	for _, name := range []string{"server that held the root", "server that starts"} {
		t.Run(name, func(t *testing.T) {
			store := keystoretest.NewMemory()
			r := ringOver(t, store, newFlaky(t))
			tenant, err := r.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			require.NoError(t, works(tenant))
			before, err := r.Document(t.Context(), "tenant")
			require.NoError(t, err)
			leaked := tenant.openedRoots()
			require.NoError(t, replaceRoots(t, r))
			now, err := r.Document(t.Context(), "tenant")
			require.NoError(t, err)

			slot := before.Slots[0]
			slot.Root.Generation, slot.MAC = 99, [envelope.MACSize]byte{}
			forged := &envelope.Document{Environment: now.Environment, Owner: now.Owner, Slots: []envelope.Slot{slot}}
			dek, root := secret.New(), keyOf(leaked)
			require.NoError(t, addKey(forged, slot.Root, root, dek, format.UseCache, classify.PHI))
			require.NoError(t, forged.Sign(func(r *envelope.Record) (mac [envelope.MACSize]byte, ok bool) {
				h := root.MAC(envelope.LabelRecordMAC)
				h.Write(r.Message)
				return [envelope.MACSize]byte(h.Sum(nil)), true
			}))
			put(t, store, "tenant", forged)
			server := r
			if name == "server that starts" {
				server = ringOver(t, store, newFlaky(t))
			}
			attacked, err := server.Tenant(t.Context(), "tenant")
			if err == nil {
				require.NoError(t, attacked.Reload(t.Context()))
				err = works(attacked)
			}
			require.ErrorIs(t, err, ErrUnreadable)
		})
	}
}

func keyOf(opened roots) *secret.Key {
	for _, one := range opened {
		return one.key
	}
	return nil
}

// A shred record that the system document does not authenticate shreds no tenant.
func TestForgedShredRecordIsRejected(t *testing.T) {
	store := keystoretest.NewMemory()
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	d, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	forged := &envelope.Document{Environment: d.Environment, Owner: d.Owner, Shreds: []envelope.ShredRecord{{Line: [16]byte{1}, ShreddedAt: 1, MAC: [32]byte{1}}}}
	put(t, store, "tenant", forged)
	fresh := ringOver(t, store, newFlaky(t))
	for name, do := range map[string]func() error{
		"shred":         func() error { return fresh.Shred(t.Context(), "tenant") },
		"replace roots": func() error { return replaceRoots(t, fresh) },
		"rewrap":        func() error { _, err := fresh.Document(t.Context(), "tenant"); return err },
		"list": func() error {
			for _, err := range fresh.Documents(t.Context()) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, do(), ErrUnreadable) })
	}
	store.LoseDocuments(keystore.Keysets, systemID)
	_, err = ringOver(t, store, newFlaky(t)).Document(t.Context(), "tenant")
	require.ErrorIs(t, err, ErrUnreadable)
	content, err := store.Get(t.Context(), keystore.Keysets, systemID)
	require.NoError(t, err)
	require.Nil(t, content, "to read makes no system document")
}

// An attacker with write access to the store cannot hide a rollback by adding records under an unknown root first.
func TestUnknownRootHidesNoRollback(t *testing.T) {
	store := keystoretest.NewMemory()
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	earlier, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	leaked := earlier.Keyset(format.UseCache, classify.PHI).Primary()
	_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
	require.NoError(t, err)
	require.NoError(t, r.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, leaked, envelope.Compromised))
	forged, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	slot := forged.Slots[0]
	slot.ID, slot.Root.ID = random16(), format.KeyID{1}
	require.NoError(t, forged.AddSlot(slot))
	put(t, store, "tenant", forged)
	require.NoError(t, tenant.Reload(t.Context()))
	tenant = nil
	collect()
	collect()
	tenant, err = r.Tenant(t.Context(), "tenant")
	if err == nil {
		err = works(tenant)
	}
	require.ErrorIs(t, err, ErrUnreadable)
	put(t, store, "tenant", earlier)
	tenant, err = r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	now, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.Equal(t, envelope.Compromised, now.Keyset(format.UseCache, classify.PHI).Key(leaked).State)
}

// replaying is a store that returns other content for one of the reads of a tenant's document.
type replaying struct {
	*keystoretest.Memory
	reads   atomic.Int64
	at      int64
	content []byte
}

func (s *replaying) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if name == "tenant" && s.reads.Add(1) == s.at {
		return s.content, nil
	}
	return s.Memory.Get(ctx, kind, name)
}

// A forged document that is in the store for a moment has no effect afterwards.
func TestForgedDocumentHasNoLastingEffect(t *testing.T) {
	memory := keystoretest.NewMemory()
	made, err := ringOver(t, memory, newFlaky(t)).Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(made))
	d, err := envelope.ParseDocument(contentOf(t, memory, "tenant"))
	require.NoError(t, err)
	d.Keyset(format.UseCache, classify.PHI).Primaries[0].Epoch = 77
	forged, err := d.Append(nil)
	require.NoError(t, err)
	for at := int64(1); at <= 2; at++ {
		r := ringOver(t, &replaying{Memory: memory, at: at, content: forged}, newFlaky(t))
		_, err = r.Tenant(t.Context(), "tenant")
		require.ErrorIs(t, err, ErrUnreadable, at)
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err, at)
		require.NoError(t, works(tenant))
	}
}
