package keyring

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Every write of a document replaces its due time in the keystore's index.
func TestWritesStoreTheDueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, dueTime := keystoretest.NewMemory(), int64(0)
		r := ringOver(t, store, newFlaky(t), WithDueTime(func(*envelope.Document) int64 { return dueTime }))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		dueUntil := func(until int64) []string {
			t.Helper()
			names, err := store.Due(t.Context(), keystore.Keysets, until, 10)
			require.NoError(t, err)
			return names
		}
		require.Empty(t, dueUntil(math.MaxInt64))
		dueTime = 1000
		require.NoError(t, works(tenant))
		require.Empty(t, dueUntil(999))
		require.Equal(t, []string{"tenant"}, dueUntil(1000))
		dueTime = 2000
		_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(t, err)
		require.Empty(t, dueUntil(1999))
		require.Equal(t, []string{"tenant"}, dueUntil(2000))
	})
}
