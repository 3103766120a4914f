package rotation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Tenants whose keysets or rotations cannot be read delay no other's rotation, though they are due before it.
func TestDueBesideUnreadable(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	s.fill(10)
	for _, kind := range []keystore.Kind{keystore.Keysets, keystore.Rotations} {
		for i := range 120 { // more than are looked at at once
			swapped, err := s.Keystore.Swap(t.Context(), kind, fmt.Sprint(i), nil, []byte("damaged"), 1)
			require.NoError(t, err)
			require.True(t, swapped)
		}
	}
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool {
		return s.primaries()[classify.PHI] != before[classify.PHI] && s.came(rotation.Grace)() && s.Stats().Errors >= 2
	})
}

// Documents that somebody removed from Redis by hand leave their due times. They are looked at once: the looks after it wait, and
// others get their turn.
func TestDueOfRemovedDocuments(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := newSite(t, rediskeys.New(client), store, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	s.fill(10)
	for _, kind := range []keystore.Kind{keystore.Keysets, keystore.Rotations} {
		for i := range 120 { // more than are looked at at once
			name := fmt.Sprint(i)
			_, err := s.Keystore.Swap(t.Context(), kind, name, nil, []byte("document"), 1)
			require.NoError(t, err)
			require.NoError(t, client.Del(t.Context(), s.Keystore.Location(kind, name)).Err())
		}
	}
	s.work()
	before := s.primaries()
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
}

// A tenant whose keyset is damaged does not hold up the sweeps that others wait for.
func TestSweepsBesideADamagedKeyset(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(10)
	damaged, err := s.Keyring.Tenant(t.Context(), "damaged")
	require.NoError(t, err)
	_, err = damaged.Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	for _, tenant := range []string{"damaged", "tenant"} {
		_, err = s.Begin(t.Context(), tenant, rotation.Order{})
		require.NoError(t, err)
	}
	require.Equal(t, rotation.Grace, s.work().State)
	s.clock.pass(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	keystoretest.Put(t, s.Keystore, keystore.Keysets, "damaged", []byte("damaged"))
	for range 10 {
		_, _ = s.RunPending(t.Context())
	}
	require.Equal(t, rotation.Done, s.record().State)
}
