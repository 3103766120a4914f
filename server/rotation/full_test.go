package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// grow gives the keyset of the cache's PII so many keys.
func (s *site) grow(keys int) {
	s.t.Helper()
	for range keys - 1 {
		_, err := s.tenant().Rotate(s.t.Context(), format.UseCache, classify.PII, nil)
		require.NoError(s.t, err)
	}
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
