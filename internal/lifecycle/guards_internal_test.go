package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A former key that was made by a clock in 2099 does not delay the retirement of the keyset's other keys.
func TestKeyFromFutureDelaysNoRetirement(t *testing.T) {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.New(keystoretest.NewMemory(), kms.NewSet(kek), "test", keyring.WithTTL(time.Hour))
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	now := time.Now()
	keys := Manager{Options: Options{Rotator: rotation.New(rotation.Options{Keyring: ring, Now: func() time.Time { return now }})}}
	s := &envelope.Keyset{Use: format.UseCache, Class: classify.PHI}
	dated := func(id byte, at time.Time) {
		s.Keys = append(s.Keys, envelope.Key{ID: format.KeyID{id}, CreatedAt: at.UnixMilli(), State: envelope.Enabled})
		s.Primaries = []envelope.Primary{{KeyID: format.KeyID{id}, Epoch: uint32(id)}}
	}
	dated(1, now.AddDate(70, 0, 0))
	require.ErrorIs(t, keys.checkPropagation(nil, s), keyring.ErrInUse, "the primary, which is rotated immediately")
	dated(2, now.Add(-time.Minute))
	require.ErrorIs(t, keys.checkPropagation(nil, s), keyring.ErrInUse)
	now = now.Add(2 * time.Hour)
	require.NoError(t, keys.checkPropagation(nil, s))
}
