package rotation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Servers with different caches destroy no key, whichever of them sweeps, and report the reason. With one cache, they
// destroy keys.
func TestServersWithDifferentCachesDestroyNoKey(t *testing.T) {
	t.Parallel()
	keys := directory(t, t.TempDir())
	open := func() kv.Store {
		store, err := sqlitekv.Open(t.TempDir(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	}
	shared := open()
	a, b := newSite(t, keys, shared, nil), newSite(t, keys, open(), nil)
	announce := func(sites ...*site) (errs []error) {
		for range 3 { // each server must see the other one twice
			errs = nil
			for _, one := range sites {
				_, err := rotation.Announce(one.Rotator, t.Context())
				errs = append(errs, err)
			}
		}
		return errs
	}
	a.fill(10)
	b.fill(10)
	a.begin(rotation.Order{})
	for _, err := range announce(a, b) {
		require.ErrorContains(t, err, "no key is destroyed")
	}
	require.ErrorContains(t, a.CheckCacheShared(t.Context()), "cache")
	a.clock.advance(30 * time.Hour)
	b.clock.advance(30 * time.Hour)
	for range 5 {
		announce(a, b)
		for _, one := range []*site{a, b} {
			_, _ = one.RunPending(t.Context())
		}
	}
	require.Contains(t, a.sweep().Fault, "no key is destroyed")
	require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, a.states(format.UseCache))
	b.requireReadable(10)
	status, err := a.Status(t.Context(), nil)
	require.NoError(t, err)
	require.NotEmpty(t, status.Warnings)

	require.NoError(t, b.Withdraw(t.Context()))
	c := newSite(t, keys, shared, nil)
	c.clock.advance(30 * time.Hour)
	for _, err := range announce(a, c) {
		require.NoError(t, err)
	}
	require.NoError(t, a.CheckCacheShared(t.Context()))
	a.clock.advance(2 * time.Hour)
	c.clock.advance(2 * time.Hour)
	require.NoError(t, errors.Join(announce(a, c)...))
	require.Equal(t, rotation.Done, a.runAll().State)
	a.requireReadable(10)
}

// An emptied cache contains the announcements again after the next round.
func TestEmptiedCacheIsAnnouncedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	keys := directory(t, t.TempDir())
	a, b := newSite(t, keys, rediskv.New(client), nil), newSite(t, keys, rediskv.New(client), nil)
	round := func() {
		for _, one := range []*site{a, b} {
			_, err := rotation.Announce(one.Rotator, t.Context())
			require.NoError(t, err)
		}
	}
	round()
	round()
	a.fill(10)
	a.begin(rotation.Order{})
	a.runAll()
	require.NoError(t, client.FlushAll(t.Context()).Err())
	require.NotEmpty(t, a.UnsharedReason(t.Context()))
	round()
	round()
	require.Empty(t, a.UnsharedReason(t.Context()))
	require.NoError(t, a.CheckCacheShared(t.Context()))
	a.clock.advance(26 * time.Hour)
	b.clock.advance(26 * time.Hour)
	round()
	require.Equal(t, rotation.Done, a.runAll().State)
}
