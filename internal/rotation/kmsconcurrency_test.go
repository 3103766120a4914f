package rotation_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

// waitingKEK is a KEK whose Unwrap returns only when another call is waiting too. The first call, for the system
// document, returns at once.
type waitingKEK struct {
	kms.KEK
	waiting atomic.Int32
	enough  chan struct{}
}

func (g *waitingKEK) Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error) {
	switch g.waiting.Add(1) {
	case 1:
		return g.KEK.Unwrap(ctx, wrapped, additional)
	case 5:
		close(g.enough)
	}
	select {
	case <-g.enough:
		return g.KEK.Unwrap(ctx, wrapped, additional)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A sweep unlocks several tenants at the same time, so that it does not wait for the KMS once per tenant.
func TestTenantsAreUnlockedConcurrently(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	for i := range 10 {
		id := fmt.Sprint(i)
		tenant, err := s.Keyring.Tenant(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, cache.New(s.Store, seal.NewSealer(tenant)).SetEncrypted(t.Context(), "k", []byte("v"), classify.PHI, cache.TTL(time.Hour)))
		_, err = s.Begin(t.Context(), id, rotation.Order{})
		require.NoError(t, err)
	}
	kek, err := kms.Open(t.Context(), kekURL)
	require.NoError(t, err)
	ring, err := keyring.New(s.Keystore, kms.NewSet(&waitingKEK{KEK: kek, enough: make(chan struct{})}), "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	_, err = ring.System(t.Context())
	require.NoError(t, err)
	r := rotation.New(rotation.Options{Keyring: ring, Keystore: s.Keystore, Store: s.Store, Audit: audit.Discard})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for did := true; did; {
		did, err = r.RunPending(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, rotation.Counts{Scanned: 10, Reencrypted: 10}, s.sweep().Counts())
}
