package rotation_test

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// grow gives the keyset of the cache's PII so many keys, of which all but one are destroyed.
func (s *site) grow(keys int) {
	s.t.Helper()
	d, err := s.Ring.Document(s.t.Context(), "tenant")
	require.NoError(s.t, err)
	old, err := d.Append(nil)
	require.NoError(s.t, err)
	set := d.Keyset(format.UseCache, classify.PII)
	for len(set.Keys) < keys {
		gone := envelope.Key{State: envelope.Destroyed, RootID: set.Keys[0].RootID, CreatedAt: set.RotatedAt()}
		_, _ = rand.Read(gone.ID[:]) // cannot fail
		set.Keys = append(set.Keys, gone)
		set.Epoch++
	}
	slices.SortFunc(set.Keys, func(a, b envelope.Key) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	grown, err := d.Append(nil)
	require.NoError(s.t, err)
	swapped, err := s.Keystore.Swap(s.t.Context(), keystore.Keysets, "tenant", old, grown, 0)
	require.NoError(s.t, err)
	require.True(s.t, swapped)
}

// A keyset that has no room for another key is refused before anything is announced, and holds up no other.
func TestFull(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Age = 24 * time.Hour })
	s.fill(10)
	s.grow(1024)
	before := s.primaries()
	for _, order := range []rotation.Order{{}, {Class: classify.PII}, {Class: classify.PII, Compromised: true}} {
		_, err := s.Begin(t.Context(), "tenant", order)
		require.ErrorIs(t, err, rotation.ErrFull)
	}
	record, err := s.Record(t.Context(), "tenant")
	require.NoError(t, err)
	require.Nil(t, record)
	require.Equal(t, rotation.Reencrypting, s.begin(rotation.Order{Class: classify.PHI, Compromised: true}).State)
	require.NotEqual(t, before[classify.PHI], s.primaries()[classify.PHI])
	s.clock.pass(25 * time.Hour)
	s.serve(func() bool { return s.primaries()[classify.Public] != before[classify.Public] })
	require.Equal(t, before[classify.PII], s.primaries()[classify.PII])
	s.reads(10)
}

// However few uses a key is to have, the successors come more rarely the more there are.
func TestUsesRest(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Uses = 1 })
	s.fill(10)
	s.grow(31)
	s.fill(10)
	before := s.primaries()
	s.serve(func() bool { return s.primaries()[classify.PHI] != before[classify.PHI] })
	require.Equal(t, before[classify.PII], s.primaries()[classify.PII])
	s.clock.pass(15*time.Hour + time.Second)
	s.serve(func() bool { return s.primaries()[classify.PII] != before[classify.PII] })
}
