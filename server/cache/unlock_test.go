package cache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

// blockedKEK is a KEK whose calls of Unwrap block while blocked is true, until release is closed or their context ends.
type blockedKEK struct {
	kms.KEK
	blocked atomic.Bool
	waiting atomic.Int64 // calls that are blocked now
	release chan struct{}
}

func (k *blockedKEK) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	if k.blocked.Load() {
		k.waiting.Add(1)
		defer k.waiting.Add(-1)
		select {
		case <-k.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return k.KEK.Unwrap(ctx, wrapped, additionalData)
}

// If the keys must be unlocked and the KMS does not answer, a call ends with its context. The unlock continues.
func TestCallsObserveTheirContextDuringAnUnlock(t *testing.T) {
	local, err := kms.NewLocal(make([]byte, 32))
	require.NoError(t, err)
	kek := &blockedKEK{KEK: local, release: make(chan struct{})}
	keys, err := keyring.Open(t.TempDir(), kek, "test", keyring.WithMaxUses(1)) // so each use of the keys unlocks them
	require.NoError(t, err)
	defer keys.Close()
	tenant, err := keys.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	c := cache.New(store, seal.NewSealer(tenant))
	set := func(ctx context.Context) error {
		return c.SetEncrypted(ctx, "key", []byte("value"), classify.PHI)
	}
	get := func(ctx context.Context) error {
		value, err := c.GetDecrypted(ctx, "key")
		if err == nil {
			require.Equal(t, "value", string(value))
		}
		return err
	}
	require.NoError(t, set(t.Context()))
	require.NoError(t, get(t.Context()))

	kek.blocked.Store(true)
	expired, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, set(expired), context.DeadlineExceeded)
	require.Eventually(t, func() bool { return kek.waiting.Load() == 1 }, 20*time.Second, time.Millisecond, "the unlock continues")

	for name, call := range map[string]func(context.Context) error{"SetEncrypted": set, "GetDecrypted": get} {
		_, before := keys.CacheStats()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- call(ctx) }()
		require.Eventually(t, func() bool {
			_, missed := keys.CacheStats()
			return missed > before
		}, 20*time.Second, time.Millisecond, name)
		cancel()
		require.ErrorIs(t, <-result, context.Canceled, name) // the time-out of the unlock would be context.DeadlineExceeded
	}

	close(kek.release)
	require.NoError(t, set(t.Context()))
	require.NoError(t, get(t.Context()))
}
