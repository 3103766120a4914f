package recovery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keys returns a manager that disables and destroys keys by hand, as of an hour after the last rotation.
func keys(r *recovery.Recovery) *lifecycle.Manager {
	later := func() time.Time { return time.Now().Add(r.Keyring.TTL() + 2*rotation.Margin) }
	rotator := rotation.New(rotation.Options{Keyring: r.Keyring, Keystore: r.Store, Audit: r.Audit, Now: later})
	return lifecycle.New(lifecycle.Options{Rotator: rotator, Audit: r.Audit})
}

// primary returns the primary of the cache's keyset.
func primary(t *testing.T, r *recovery.Recovery, tenant string) lifecycle.Key {
	k, err := r.Keyring.Tenant(t.Context(), tenant)
	require.NoError(t, err)
	id, err := k.Primary(t.Context(), format.UseService, classify.PHI)
	require.NoError(t, err)
	return lifecycle.Key{Tenant: tenant, Use: format.UseService, Class: classify.PHI, ID: id}
}

// former returns the only key of the cache's keyset that is not the primary.
func former(t *testing.T, r *recovery.Recovery, tenant string) lifecycle.Key {
	key := primary(t, r, tenant)
	d, err := r.Keyring.Document(t.Context(), tenant)
	require.NoError(t, err)
	for _, k := range d.Keyset(key.Use, key.Class).Keys {
		if k.ID != key.ID {
			return lifecycle.Key{Tenant: tenant, Use: key.Use, Class: key.Class, ID: k.ID}
		}
	}
	t.Fatal("there is none")
	return key
}

// ended returns the tombstones of a log that reports one destroyed key of the tenant.
func ended(key format.KeyID) *recovery.Tombstones {
	return &recovery.Tombstones{IDs: map[recovery.ID]bool{{Tenant: "tenant", Hex: fmt.Sprintf("%x", key)}: true}}
}

func rotateOf(t *testing.T, r *recovery.Recovery, key lifecycle.Key) {
	k, err := r.Keyring.Tenant(t.Context(), key.Tenant)
	require.NoError(t, err)
	_, err = k.Rotate(t.Context(), key.Use, key.Class, nil)
	require.NoError(t, err)
}

func retire(t *testing.T, r *recovery.Recovery, key lifecycle.Key, to envelope.State) error {
	plan, err := keys(r).Prepare(t.Context(), key, to)
	require.NoError(t, err)
	return plan.Apply(t.Context())
}

func stateIn(t *testing.T, r *recovery.Recovery, key lifecycle.Key) envelope.State {
	d, err := r.Keyring.Document(t.Context(), key.Tenant)
	require.NoError(t, err)
	for _, k := range d.Keyset(key.Use, key.Class).Keys {
		if k.ID == key.ID {
			return k.State
		}
	}
	return 0
}

// A key that was destroyed by hand after the backup stays destroyed because of the audit log, even if the store lost
// its state and the key is the primary in the backup. Other keys are restored, including those of the same tenant.
func TestRestoreKeepsKeysDestroyed(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	former, other := primary(t, r, "tenant"), primary(t, r, "other")
	first := backup(t, s.a())
	rotateOf(t, r, former)
	newer := primary(t, r, "tenant")
	second := backup(t, s.a())
	require.NoError(t, retire(t, r, former, envelope.Disabled))
	require.Nil(t, s.endings(t).IDs, "a log without a destruction")
	require.NoError(t, retire(t, r, former, envelope.Destroyed))
	endings := s.endings(t)
	require.Equal(t, ended(former.ID), endings)

	for _, file := range [][]byte{first, second} {
		s.lose()
		for _, dry := range []bool{true, false} {
			restored, err := either(t, s.a(), dry).Restore(t.Context(), reading(file), endings)
			require.NoError(t, err)
			require.Equal(t, []recovery.Destroyed{{Tenant: "tenant", Keys: 1}}, restored.Destroyed)
		}
		after := s.a()
		require.Equal(t, envelope.Destroyed, stateIn(t, after, former))
		require.Equal(t, envelope.Enabled, stateIn(t, after, other))
		again, err := after.Restore(t.Context(), reading(file), endings)
		require.NoError(t, err, "a repetition changes nothing")
		require.Equal(t, 2, again.Unchanged)
	}
	require.Equal(t, newer, primary(t, s.a(), "tenant"))

	s.lose()
	_, err := s.a().Restore(t.Context(), reading(first), endings)
	require.NoError(t, err)
	k, err := s.a().Keyring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	_, err = k.Primary(t.Context(), format.UseService, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyDestroyed, "no key seals")
	rotateOf(t, s.a(), former)
	require.NotEqual(t, former, primary(t, s.a(), "tenant"), "another key seals later")
	_, err = s.a().Restore(t.Context(), reading(second), endings)
	require.NoError(t, err)
	require.Equal(t, envelope.Enabled, stateIn(t, s.a(), newer))
}

// A failed destruction is recorded as failed: a later restore does not destroy the key.
func TestRestoreIgnoresFailedDestruction(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	former := primary(t, r, "tenant")
	rotateOf(t, r, former)
	require.NoError(t, retire(t, r, former, envelope.Disabled))
	file := backup(t, s.a())
	store := stuck{s.store()}
	ring, err := keyring.New(store, kms.NewSet(openKEK(t, urlA)), "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	failing := &recovery.Recovery{Keyring: ring, Store: store, Environment: "test", Audit: r.Audit}
	require.ErrorIs(t, retire(t, failing, former, envelope.Destroyed), keyring.ErrUnreadable)
	require.Equal(t, &recovery.Tombstones{}, s.endings(t))
	_, err = s.a().Restore(t.Context(), reading(file), s.endings(t))
	require.NoError(t, err)
	require.Equal(t, envelope.Disabled, stateIn(t, s.a(), former))
}

// If a key's destruction is in the audit log, and the store has the key in a usable state, its tenant is left
// unchanged and reported.
func TestRestoreRefusesUsableDestroyedKeys(t *testing.T) {
	s := newSite(t)
	alive := primary(t, s.a(), "tenant")
	file := backup(t, s.a())
	endings := ended(alive.ID)
	restored, err := s.a().Restore(t.Context(), reading(file), endings)
	require.ErrorIs(t, err, keyring.ErrNotDestroyed)
	require.Len(t, restored.Failures, 1)
	require.Empty(t, restored.Destroyed)
	require.Equal(t, envelope.Enabled, stateIn(t, s.a(), alive))
}

// Keys that a rotation destroyed stay destroyed, as those that were destroyed by hand.
func TestRestoreKeepsRotatedKeysDestroyed(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	require.NoError(t, r.Audit.Record(t.Context(), audit.Event{Action: audit.KeyDestroy, Operation: "rotate", Tenant: "tenant", Class: classify.PHI, KeyID: format.KeyID{7}}))
	require.Equal(t, ended(format.KeyID{7}), s.endings(t))
}
