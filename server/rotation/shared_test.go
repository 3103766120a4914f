package rotation_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// A server neither delays the tenants of another environment in the same keystore for good, nor counts them as failures.
func TestDueOfAnotherEnvironment(t *testing.T) {
	t.Parallel()
	s := local(t, func(o *rotation.Options) { o.Age = 24 * time.Hour })
	kek, err := kms.Open(t.Context(), kekURL)
	require.NoError(t, err)
	ring, err := keyring.New(s.Keystore, kms.NewSet(kek), "other", keyring.WithDue(keyring.DueAfter(24*time.Hour, time.Now)))
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	theirs, err := ring.Tenant(t.Context(), "theirs")
	require.NoError(t, err)
	_, err = theirs.Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	s.clock.pass(25 * time.Hour)
	content, err := s.Keystore.Get(t.Context(), keystore.Keysets, "theirs")
	require.NoError(t, err)
	_, err = s.Keystore.Swap(t.Context(), keystore.Rotations, "theirs", nil, []byte(`{"tenant":"theirs","environment":"other","state":"grace"}`), 1)
	require.NoError(t, err)
	s.serve(func() bool { return s.Seen().Looked })
	require.Zero(t, s.Seen().Overdue)
	require.Zero(t, s.Seen().Errors)
	_, err = s.Record(t.Context(), "theirs")
	require.ErrorIs(t, err, keyring.ErrEnvironment, "it is not called damaged")
	now, err := s.Keystore.Get(t.Context(), keystore.Keysets, "theirs")
	require.NoError(t, err)
	require.Equal(t, content, now)

	for try := 0; ; try++ { // its servers look once a minute, as this one does
		names, err := s.Keystore.Due(t.Context(), keystore.Keysets, s.clock.now().Add(30*time.Second).UnixMilli(), 10)
		require.NoError(t, err)
		if slices.Contains(names, "theirs") {
			break
		}
		require.Less(t, try, 20, "it is never due when its own servers look")
		_, err = s.Keystore.Swap(t.Context(), keystore.Keysets, "theirs", content, content, 1)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			s.Serve(ctx, slog.New(slog.DiscardHandler))
		}()
		require.Eventually(t, func() bool {
			names, err := s.Keystore.Due(t.Context(), keystore.Keysets, 1, 10)
			return err == nil && len(names) == 0
		}, time.Minute, 10*time.Millisecond)
		cancel()
		<-looked
	}
}

// An entry of a tenant whose keysets do not exist holds up no sweep, if another environment has a rotation of that name.
func TestSweepBesideARecordOfAnotherEnvironment(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.SetWait(time.Microsecond)
	s.fill(10)
	one, _, err := kv.Get(t.Context(), s.Store, "coffer/tenant/cache/entry 1")
	require.NoError(t, err)
	require.NoError(t, kv.Set(t.Context(), s.Store, "coffer/ghost/cache/entry 1", one, time.Hour))
	_, err = s.Keystore.Swap(t.Context(), keystore.Rotations, "ghost", nil, []byte(`{"tenant":"ghost","environment":"other"}`), 0)
	require.NoError(t, err)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.work().State)
	require.Equal(t, 10, s.under(10))
}
