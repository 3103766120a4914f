package recovery_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// After the store was reset to an earlier state, FindNotDestroyed returns exactly the tenants that were shredded and
// the keys that were destroyed since.
func TestFindNotDestroyedAfterRollback(t *testing.T) {
	s := newSite(t)
	r := s.logged(t)
	destroyed, shredded := primary(t, r, "tenant"), primary(t, r, "gone")
	primary(t, r, "untouched")
	rotateOf(t, r, destroyed)
	rotateOf(t, r, shredded)
	require.NoError(t, retire(t, r, destroyed, envelope.Disabled))
	file := filepath.Join(s.dir, "keys.db")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, retire(t, r, destroyed, envelope.Destroyed))
	require.NoError(t, r.Shred(t.Context(), "gone"))

	returned, err := s.a().FindNotDestroyed(t.Context(), s.endings(t))
	require.NoError(t, err)
	require.Empty(t, returned)
	require.NoError(t, os.WriteFile(file, before, 0o600))
	returned, err = s.a().FindNotDestroyed(t.Context(), s.endings(t))
	require.NoError(t, err)
	require.Equal(t, []recovery.Destroyed{{Tenant: "gone", Shredded: true}, {Tenant: "tenant", Keys: 1}}, returned)

	require.NoError(t, s.a().Shred(t.Context(), "gone"))
	require.NoError(t, retire(t, s.a(), destroyed, envelope.Destroyed))
	returned, err = s.a().FindNotDestroyed(t.Context(), s.endings(t))
	require.NoError(t, err)
	require.Empty(t, returned, "they can be destroyed again")

	content, err := s.store().Get(t.Context(), keystore.Keysets, "untouched")
	require.NoError(t, err)
	keystoretest.Put(t, s.store(), keystore.Keysets, "untouched", bytes.Repeat([]byte{1}, len(content)))
	_, err = s.a().FindNotDestroyed(t.Context(), s.endings(t))
	require.Error(t, err, "a damaged document cannot be compared")
}
