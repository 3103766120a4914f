package token_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// The hour of the last use on any server is saved with one write per hour and shard, and never by a request.
func TestLastUseIsSavedOncePerHour(t *testing.T) {
	site, store := newMemorySite(t)
	counted := keystoretest.NewFaultyStore(store, func(keystoretest.Write) keystoretest.Fault { return keystoretest.NoFault })
	site.store = counted
	made, known := issue(t, site.registry(), readGrant)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }
	a, b := site.server(t), site.server(t)
	a.SetClock(clock)
	b.SetClock(clock)
	used := func() time.Time { return list(t, site.registry())[0].LastUsedAt }
	require.Zero(t, used())
	for range 3 {
		writes := counted.Writes()
		for _, s := range []*server{a, b} {
			before := counted.Writes()
			s.requireAccepted(t, made)
			require.Equal(t, before, counted.Writes(), "a request writes nothing")
			s.SaveUses(t.Context())
			require.Equal(t, now.Truncate(time.Hour), used())
		}
		require.Equal(t, writes+1, counted.Writes())
		now = now.Add(time.Hour)
		a.SaveUses(t.Context())
		require.Equal(t, writes+1, counted.Writes())
	}
	keystoretest.Put(t, store, keystore.TokenUses, known.ID[:2], []byte("damaged"))
	require.Zero(t, used(), "last-use times are not authenticated")
	now = now.Add(-10 * time.Hour)
	b.requireAccepted(t, made)
	b.SaveUses(t.Context())
	require.Zero(t, used(), "a clock that was set back saves nothing")
	now = now.Add(20 * time.Hour)
	a.requireAccepted(t, made)
	a.SaveUses(t.Context())
	require.Equal(t, now.Truncate(time.Hour), used())
}

// Uses that could not be saved, or were overwritten, are saved the next time.
func TestUnsavedUsesAreRetried(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			site, store := newMemorySite(t)
			made, _ := issue(t, site.registry(), readGrant)
			site.store = keystoretest.NewFaultyStore(store, keystoretest.FaultAt(1, fault))
			s := site.server(t)
			s.requireAccepted(t, made)
			s.SaveUses(t.Context())
			s.SaveUses(t.Context())
			require.Equal(t, time.Now().UTC().Truncate(time.Hour), list(t, site.registry())[0].LastUsedAt)
		})
	}
}

// The times of deleted tokens and times that a clock far ahead has set are removed.
func TestUsesOfDeletedTokensArePruned(t *testing.T) {
	site, store := newMemorySite(t)
	made, known := issue(t, site.registry(), readGrant)
	shard := known.ID[:2]
	keystoretest.Put(t, store, keystore.TokenUses, shard, []byte(`{"`+shard+`00000000000000":1,"`+shard+`00000000000001":99999999}`))
	s := site.server(t)
	s.requireAccepted(t, made)
	s.SaveUses(t.Context())
	content, err := store.Get(t.Context(), keystore.TokenUses, shard)
	require.NoError(t, err)
	require.Regexp(t, `^\{"`+known.ID+`":\d+\}$`, string(content))
}
