package recovery_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// A shred record in the store needs no audit log: older keys in a backup stay shredded.
func TestRestoreHonoursShredRecords(t *testing.T) {
	s := newSite(t)
	former := sealWith(t, s.a(), "tenant", classify.PHI)
	file := backup(t, s.a())
	s.lose()
	time.Sleep(2 * time.Millisecond)
	sealWith(t, s.a(), "tenant", classify.PHI) // created again by a running server
	require.NoError(t, s.a().Shred(t.Context(), "tenant"))
	for _, dry := range []bool{true, false} {
		_, err := either(t, s.a(), dry).Restore(t.Context(), reading(file), nil)
		require.NoError(t, err)
	}
	require.Equal(t, "key_destroyed", code(former.open(s.a())))
	d, err := s.a().Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.True(t, d.Shredded())
}

// If the store lost the environment's own keys, they are restored from a backup, and are written only by a restore.
func TestRecoverSystemFromBackup(t *testing.T) {
	s := newSite(t)
	populate(t, s.a(), 1)
	key := func(system *keyring.System) string {
		key, err := system.Key(t.Context(), envelope.UseAudit)
		require.NoError(t, err)
		return fmt.Sprintf("%x", key.ID())
	}
	system, err := s.a().Keyring.System(t.Context())
	require.NoError(t, err)
	want := key(system)
	file := backup(t, s.a())
	for _, lost := range []bool{false, true} {
		if lost {
			s.lose()
		}
		system, err := dry(t, s.a()).RecoverSystem(t.Context(), reading(file))
		require.NoError(t, err)
		require.Equal(t, want, key(system))
	}
	_, err = s.b().RecoverSystem(t.Context(), reading(file))
	require.ErrorIs(t, err, kms.ErrWrongKey)
	_, err = s.a().RecoverSystem(t.Context(), reading(file[:len(file)-1]))
	require.ErrorIs(t, err, keyring.ErrBackup)
	for range keystore.All(t.Context(), s.store(), keystore.Keysets) {
		t.Fatal("it was written")
	}
	system, err = s.a().RecoverSystem(t.Context(), reading(file))
	require.NoError(t, err)
	require.Equal(t, want, key(system))
	_, err = s.a().Keyring.SystemDocument(t.Context())
	require.NoError(t, err)
}

// shreddings returns the tombstones of the site's audit log.
func (s *site) endings(t *testing.T) *recovery.Tombstones {
	key := audit.NewKey(new(secret.Key))
	endings := &recovery.Tombstones{}
	require.NoError(t, endings.AddLog(t.Context(), filepath.Join(s.dir, "audit"), key))
	return endings
}

// stuck is a store that refuses changes.
type stuck struct{ keystore.Store }

func (stuck) Swap(context.Context, keystore.Kind, string, []byte, []byte, int64) (bool, error) {
	return false, keystore.ErrUnavailable
}

// A failed shredding is recorded as failed: a later restore does not shred the tenant.
func TestRestoreIgnoresFailedShred(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	p := sealWith(t, r, "tenant", classify.PHI)
	file := backup(t, s.a())
	store := stuck{s.store()}
	keks := kms.NewSet(openKEK(t, urlA))
	ring, err := keyring.New(store, keks, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	failing := &recovery.Recovery{Keyring: ring, Store: store, KEKs: keks, Environment: "test", Audit: r.Audit}
	require.ErrorIs(t, failing.Shred(t.Context(), "tenant"), keyring.ErrUnreadable)
	require.Equal(t, &recovery.Tombstones{}, s.endings(t))
	_, err = s.a().Restore(t.Context(), reading(file), s.endings(t))
	require.NoError(t, err)
	require.NoError(t, p.open(s.a()))
}

// If the audit log has a shredding of a tenant and the store has usable keys of it, the tenant is left unchanged and
// reported; the others are restored.
func TestRestoreRefusesUsableShreddedTenant(t *testing.T) {
	s := newSite(t)
	all := populate(t, s.a(), 2)
	file := backup(t, s.a())
	shredded := &recovery.Tombstones{Tenants: map[string]bool{"tenant-0": true}}
	for _, dry := range []bool{true, false} {
		restored, err := either(t, s.a(), dry).Restore(t.Context(), reading(file), shredded)
		require.ErrorIs(t, err, keyring.ErrNotDestroyed)
		require.Len(t, restored.Failures, 1)
		require.Equal(t, "tenant-0", restored.Failures[0].Tenant)
		require.Empty(t, restored.Destroyed)
		require.Equal(t, 1, restored.Unchanged)
	}
	openAll(t, s.a(), all, "")
}

// The audit log has all lines of a keyset that is shredded, whatever their number, and a restore honours them. A
// writer to the store can add lines, since a shredding does not verify them with the KMS.
func TestShredRecordsEveryLine(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	p := sealWith(t, r, "tenant", classify.PHI)
	file := backup(t, s.a())
	d, err := r.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	old, err := d.Append(nil)
	require.NoError(t, err)
	for n := range byte(63) {
		slot := d.Slots[len(d.Slots)-1]
		slot.ID, slot.Root.Line = [16]byte{0, n}, [16]byte{0, n}
		require.NoError(t, d.AddSlot(slot))
	}
	crowded, err := d.Append(nil)
	require.NoError(t, err)
	swapped, err := s.store().Swap(t.Context(), keystore.Keysets, "tenant", old, crowded, 0)
	require.NoError(t, err)
	require.True(t, swapped)
	require.NoError(t, r.Shred(t.Context(), "tenant"))
	s.lose()
	_, err = s.a().Restore(t.Context(), reading(file), s.endings(t))
	require.NoError(t, err)
	require.Equal(t, "key_destroyed", code(p.open(s.a())))
}
