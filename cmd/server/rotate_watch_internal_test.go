package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestWatchReadsOneTenantThatWaits(t *testing.T) {
	t.Parallel()
	memory := keystoretest.NewMemory()
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.New(memory, kms.NewSet(kek), "test")
	require.NoError(t, err)
	defer ring.Close()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	rotator := rotation.New(rotation.Options{Keyring: ring, Keystore: memory, Store: store, Audit: audit.Discard, Grace: time.Hour})
	var tenants []string
	for i := range 100 {
		id := fmt.Sprint(i)
		keys, err := ring.Tenant(t.Context(), id)
		require.NoError(t, err)
		_, err = keys.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(t, err)
		tenants = append(tenants, id)
	}
	tenants, err = beginRotations(t.Context(), rotator, tenants, rotation.Order{})
	require.NoError(t, err)
	before := memory.Reads()
	left, _, _, err := dropReencrypted(t.Context(), rotator, tenants)
	require.NoError(t, err)
	require.Equal(t, tenants, left)
	require.Less(t, memory.Reads()-before, 10)
	for did := true; did; {
		did, err = rotator.RunPending(t.Context())
		require.NoError(t, err)
	}
	left, _, _, err = dropReencrypted(t.Context(), rotator, tenants)
	require.NoError(t, err)
	require.Empty(t, left)
}
