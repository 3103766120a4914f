package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
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

// A process that was killed is taken to be at work for 15 seconds, however far its clock was ahead.
func TestLeaseOfAnotherClock(t *testing.T) {
	store, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	dir := t.TempDir()
	ahead, s := newSite(t, directory(t, dir), store, nil), newSite(t, directory(t, dir), store, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	ahead.clock.pass(24 * time.Hour)
	ahead.work()
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Reencrypting, s.work().State, "the other one is at work")
	s.clock.pass(10 * time.Second)
	require.Equal(t, rotation.Reencrypting, s.work().State)
	said, err := s.Keystore.Get(t.Context(), keystore.Leases, "rotation of test")
	require.NoError(t, err)
	swapped, err := s.Keystore.Swap(t.Context(), keystore.Leases, "rotation of test", said, append(said, ' ')) // it says so again
	require.NoError(t, err)
	require.True(t, swapped)
	s.clock.pass(10 * time.Second)
	require.Equal(t, rotation.Reencrypting, s.work().State)
	s.clock.pass(15 * time.Second)
	require.Equal(t, rotation.Grace, s.work().State)
}
