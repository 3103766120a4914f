package keystore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

func TestMemoryConformance(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) func(testing.TB) keystore.Store {
		s := keystoretest.NewMemory()
		return func(testing.TB) keystore.Store { return s }
	})
}

// After all writes have arrived, a faulty store behaves like the store that it wraps.
func TestFaultyStoreAppliesWrites(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			s := keystoretest.NewFaultyStore(keystoretest.NewMemory(), keystoretest.FaultAt(1, fault))
			s.Pause = 0
			swapped, err := s.Swap(t.Context(), keystore.Keysets, "x", nil, []byte("one"), 0)
			fails := fault == keystoretest.FailBefore || fault == keystoretest.LoseReply || fault == keystoretest.Reorder
			require.Equal(t, fails, err != nil)
			require.Equal(t, !fails, swapped)
			there := func() bool {
				content, err := s.Get(t.Context(), keystore.Keysets, "x")
				require.NoError(t, err)
				return content != nil
			}
			require.Equal(t, fault != keystoretest.FailBefore && fault != keystoretest.Reorder, there())
			_, err = s.Swap(t.Context(), keystore.Keysets, "y", nil, []byte("two"), 0)
			require.NoError(t, err)
			require.Equal(t, fault != keystoretest.FailBefore, there())
			require.Equal(t, 2, s.Writes())
		})
	}
}
