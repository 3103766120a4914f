package keyring

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// gatedKEK is a KEK whose calls of Unwrap wait until the gate is closed.
type gatedKEK struct {
	kms.KEK
	gate  atomic.Pointer[chan struct{}] // nil: calls do not wait
	calls atomic.Int64
}

func (g *gatedKEK) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	g.calls.Add(1)
	if gate := g.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.KEK.Unwrap(ctx, wrapped, additionalData)
}

// Two uses of the keys share an unlock. If the first caller gives up, the second gets its value.
func TestUnlockContinuesIfOneOfItsCallersGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kek := &gatedKEK{KEK: localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}
		r := ringOver(t, keystoretest.NewMemory(), kek)
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		primary, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		tenant.lock()
		kek.calls.Store(0)
		gate := make(chan struct{})
		kek.gate.Store(&gate)

		type result struct {
			id  format.KeyID
			err error
		}
		use := func(ctx context.Context) <-chan result {
			results := make(chan result, 1)
			go func() {
				id, err := tenant.Primary(ctx, format.UseCache, classify.PHI)
				results <- result{id, err}
			}()
			synctest.Wait()
			return results
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := use(ctx), use(t.Context())
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		close(gate)
		require.Equal(t, result{id: primary}, <-second)
		require.EqualValues(t, 1, kek.calls.Load())
	})
}

// A caller that must reread the document of an unknown key stops waiting for another call of the keystore when its
// context ends.
func TestCheckOpenObservesItsContextWhileTheDocumentIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tenant, _, _ := cached(t)
		tenant.mu.Lock()
		defer tenant.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			h := format.Header{Source: format.FromKeyset, Use: format.UseCache, Class: uint8(classify.PHI), KeyID: format.KeyID{1}}
			result <- tenant.CheckOpen(ctx, &h, envelope.OpenPolicy{Use: format.UseCache})
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-result, context.Canceled)
	})
}

// A caller that must make the first key of a class stops waiting when its context ends. The key is made nevertheless.
func TestKeysetIsCreatedIfTheCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tenant, _, _ := cached(t)
		tenant.mu.Lock() // as a call of a keystore that does not answer
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := tenant.Primary(ctx, format.UseCache, classify.PHI)
			result <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-result, context.Canceled)
		tenant.mu.Unlock()
		synctest.Wait()
		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		require.NotNil(t, d.Keyset(format.UseCache, classify.PHI))
	})
}
