package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
)

// A tenant whose keysets cannot be read holds up no other's rotation.
func TestDueBesideUnreadable(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Age = 24 * time.Hour })
	s.fill(10)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // before and after it, in whatever order
		swapped, err := s.Keystore.Swap(t.Context(), keystore.Keysets, name, nil, []byte("damaged"))
		require.NoError(t, err)
		require.True(t, swapped)
	}
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
	require.GreaterOrEqual(t, s.Seen().Errors, 6)
}
