package rotation_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A keyset that cannot take another key is refused before anything is announced, and does not delay others that are
// due.
func TestFullKeysetIsRefused(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	full := func() *envelope.Document {
		d, err := s.Keyring.Document(t.Context(), "tenant")
		require.NoError(t, err)
		for err == nil {
			one := envelope.Key{State: envelope.Enabled, Root: d.Keyset(format.UseCache, classify.PII).Keys[0].Root, Wrapped: make([]byte, envelope.WrappedSize)}
			_, _ = rand.Read(one.ID[:]) // never fails
			err = d.AddKey(format.UseCache, classify.PII, one)
		}
		return d
	}
	for _, order := range []rotation.Order{{}, {Class: classify.PII}, {Class: classify.PII, Compromised: true}, rotation.Due(classify.PII)} {
		_, err := rotation.SelectKeysets(&rotation.Record{}, full(), order)
		require.ErrorIs(t, err, rotation.ErrKeysetFull)
	}
	for _, order := range []rotation.Order{{Class: classify.PHI}, rotation.Due(classify.PHI, classify.PII)} {
		selected, err := rotation.SelectKeysets(&rotation.Record{}, full(), order)
		require.NoError(t, err)
		require.Len(t, selected, 1)
		require.Equal(t, classify.PHI, selected[0].Class)
	}
}

// The more keys a keyset has, the less often a low MaxUses leads to a new primary.
func TestMinPrimaryAgeGrowsWithKeys(t *testing.T) {
	t.Parallel()
	for keys, want := range map[int]time.Duration{1: 0, 2: time.Minute, 31: 15 * time.Hour} {
		require.Equal(t, want, rotation.MinPrimaryAge(&envelope.Keyset{Keys: make([]envelope.Key, keys)}))
	}
	require.Greater(t, rotation.MinPrimaryAge(&envelope.Keyset{Keys: make([]envelope.Key, 1000)}), 600*24*time.Hour)
}
