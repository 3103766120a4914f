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

// A buffer that returns to the pool contains nothing of the decrypted values that it had, whatever their lengths.
func TestReencryptClearsItsBuffer(t *testing.T) {
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
	sealed := &buffer{}
	var memories [][]byte
	for _, key := range []string{"long", "short", "longer", "short"} {
		sized, err := store.Read(t.Context(), c.storeKeys([]string{key}), 1<<20)
		require.NoError(t, err)
		require.NoError(t, c.reencrypt(t.Context(), sealed, plain, key, sized[0].Value))
		memories = append(memories, plain.bytes[:cap(plain.bytes)])
	}
	require.True(t, bytes.Contains(memories[len(memories)-1], secret))
	plain.putCleared()
	for _, memory := range memories {
		require.False(t, bytes.Contains(memory, secret[:8]))
	}
}
