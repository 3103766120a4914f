package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// The key of the audit log opens in its environment alone; one of before, that is bound to none, opens, and
// is bound once it is wrapped again.
func TestAuditKeyIsBoundToTheEnvironment(t *testing.T) {
	t.Parallel()
	kek, err := kms.FromMasterKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 600_000)
	require.NoError(t, err)
	prod, staging := auditKEK{kek, "prod"}, auditKEK{kek, "staging"}
	path := filepath.Join(t.TempDir(), "audit.key")
	before, err := audit.OpenKey(t.Context(), path, kek)
	require.NoError(t, err)
	key, err := audit.OpenKey(t.Context(), path, prod)
	require.NoError(t, err)
	require.Equal(t, before.HashTenant("x"), key.HashTenant("x"))
	require.NoError(t, audit.RewrapKey(t.Context(), path, prod, prod))
	for _, other := range []kms.KEK{kek, staging} {
		_, err = audit.OpenKey(t.Context(), path, other)
		require.ErrorIs(t, err, envelope.ErrAuthentication)
	}
	key, err = audit.OpenKey(t.Context(), path, prod)
	require.NoError(t, err)
	require.Equal(t, before.HashTenant("x"), key.HashTenant("x"))
}
