package cache

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

// No value in the clear is left in a buffer that goes back to the pool, whichever of the values it held was longer.
func TestResealClearsItsBuffer(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.Open(t.TempDir(), kek, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	tenant, err := ring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	c := New(store, seal.NewSealer(tenant))
	secret := []byte("a patient's diagnosis")
	sizes := map[string]int{"short": 1, "long": 40, "longer": 400}
	for key, n := range sizes {
		require.NoError(t, c.SetEncrypted(t.Context(), key, bytes.Repeat(secret, n), classify.PHI, TTL(time.Hour)))
	}
	plain := &buffer{}
	into := &buffer{}
	var seen [][]byte
	for _, key := range []string{"long", "short", "longer", "short"} {
		sized, err := store.Read(t.Context(), c.stored([]string{key}), 1<<20)
		require.NoError(t, err)
		require.NoError(t, c.anew(into, plain, key, sized[0].Value))
		seen = append(seen, plain.bytes[:cap(plain.bytes)])
	}
	require.True(t, bytes.Contains(seen[len(seen)-1], secret))
	plain.putCleared()
	for _, memory := range seen {
		require.False(t, bytes.Contains(memory, secret[:8]))
	}
}
