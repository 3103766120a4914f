package rotation_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/rotation"
)

// Somebody with write access to the store of keysets does not decide which key is destroyed, or in the name of which caller:
// records and sweeps are refused after any change, and in the place of another tenant's.
func TestAlteredState(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := newSite(t, keystoretest.NewMemory(), store, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	s.work()
	record := func() error { _, err := s.Record(t.Context(), "tenant"); return err }
	sweep := func() error { _, err := s.Sweep(t.Context()); return err }
	for document, err := range keystore.All(t.Context(), s.Keystore, keystore.Sweeps) {
		require.NoError(t, err)
		for _, c := range []struct {
			kind keystore.Kind
			name string
			read func() error
		}{{keystore.Rotations, "tenant", record}, {keystore.Sweeps, document.Name, sweep}} {
			content, err := s.Keystore.Get(t.Context(), c.kind, c.name)
			require.NoError(t, err)
			require.NoError(t, c.read())
			text, _, _ := bytes.Cut(content, []byte("\n"))
			altered := [][]byte{text, append(bytes.Clone(text), '\n'), content[1:]}
			for i := range content {
				one := bytes.Clone(content)
				one[i] ^= 1
				altered = append(altered, one)
			}
			for _, one := range altered {
				keystoretest.Put(t, s.Keystore, c.kind, c.name, one)
				require.Error(t, c.read(), "%s", one)
			}
			keystoretest.Put(t, s.Keystore, c.kind, c.name, content)
			require.NoError(t, c.read())
			keystoretest.Put(t, s.Keystore, keystore.Rotations, "other", content)
			_, err = s.Record(t.Context(), "other")
			require.Error(t, err)
		}
	}
}
