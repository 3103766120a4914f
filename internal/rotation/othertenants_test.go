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

// Due tenants whose keysets or records cannot be read do not delay the rotations of others, even if they were due
// before.
func TestUnreadableTenantsDelayNoOther(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	s.fill(10)
	for _, kind := range []keystore.Kind{keystore.Keysets, keystore.Rotations} {
		for i := range 120 { // more than one batch
			swapped, err := s.Keystore.Swap(t.Context(), kind, fmt.Sprint(i), nil, []byte("damaged"), 1)
			require.NoError(t, err)
			require.True(t, swapped)
		}
	}
	before := s.primaries()
	s.clock.advance(25 * time.Hour)
	s.serveUntil(func() bool {
		return s.primaries()[classify.PHI] != before[classify.PHI] && s.reached(rotation.Grace)() && s.Stats().Errors >= 2
	})
}

// If documents are deleted in Redis by hand, their due times remain. The next check removes them, so that they do not
// delay others.
func TestRemovedDocumentsLeaveTheIndex(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := newSite(t, rediskeys.New(client), store, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	s.fill(10)
	for _, kind := range []keystore.Kind{keystore.Keysets, keystore.Rotations} {
		for i := range 120 { // more than one batch
			name := fmt.Sprint(i)
			_, err := s.Keystore.Swap(t.Context(), kind, name, nil, []byte("document"), 1)
			require.NoError(t, err)
			require.NoError(t, client.Del(t.Context(), s.Keystore.Location(kind, name)).Err())
		}
	}
	s.runAll()
	before := s.primaries()
	s.clock.advance(25 * time.Hour)
	s.serveUntil(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
}

// A tenant whose keyset is damaged does not delay the sweeps that other tenants wait for.
func TestDamagedKeysetDelaysNoSweep(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	damaged, err := s.Keyring.Tenant(t.Context(), "damaged")
	require.NoError(t, err)
	_, err = damaged.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	for _, tenant := range []string{"damaged", "tenant"} {
		_, err = s.Begin(t.Context(), tenant, rotation.Order{})
		require.NoError(t, err)
	}
	require.Equal(t, rotation.Grace, s.runAll().State)
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	keystoretest.Put(t, s.Keystore, keystore.Keysets, "damaged", []byte("damaged"))
	for range 10 {
		_, _ = s.RunPending(t.Context())
	}
	require.Equal(t, rotation.Done, s.record().State)
}
