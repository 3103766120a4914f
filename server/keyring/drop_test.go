package keyring

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

var _ seal.DropNotifier = (*Tenant)(nil)

// OnDrop reports each way in which keys leave the memory, and no other change.
func TestOnDropReportsDroppedKeys(t *testing.T) {
	for name, c := range map[string]struct {
		drop    func(t *testing.T, r, other *Keyring)
		dropped bool
	}{
		"expired": {func(*testing.T, *Keyring, *Keyring) { time.Sleep(11 * time.Minute) }, true},
		"closed":  {func(_ *testing.T, r, _ *Keyring) { r.Close() }, true},
		"evicted": {func(t *testing.T, r, _ *Keyring) {
			_, err := r.Tenant(t.Context(), "another")
			require.NoError(t, err)
		}, true},
		"shredded": {func(t *testing.T, r, _ *Keyring) { require.NoError(t, r.Shred(t.Context(), "tenant")) }, true},
		"shredded elsewhere": {func(t *testing.T, _, other *Keyring) {
			require.NoError(t, other.Shred(t.Context(), "tenant"))
			time.Sleep(2 * time.Second)
		}, true},
		"destroyed elsewhere": {func(t *testing.T, _, other *Keyring) {
			theirs, err := other.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			former, err := theirs.Primary(t.Context(), format.UseCache, classify.PHI)
			require.NoError(t, err)
			_, err = theirs.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
			require.NoError(t, err)
			require.NoError(t, other.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Disabled))
			require.NoError(t, other.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Destroyed))
			time.Sleep(2 * time.Second)
		}, true},
		"another key elsewhere": {func(t *testing.T, _, other *Keyring) {
			theirs, err := other.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			_, err = theirs.Primary(t.Context(), format.UseFile, classify.PHI)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}, false},
		"renewed": {func(t *testing.T, r, _ *Keyring) { time.Sleep(9 * time.Minute) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, tenant, kek, store := cached(t, WithTTL(10*time.Minute), WithMaxTenants(1))
				other := ringOver(t, store, kek)
				_, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
				require.NoError(t, err)
				if name == "expired" { // not in use since it was unlocked
					tenant.state.Load().used.Store(false)
				}
				var dropped atomic.Int64
				stop := tenant.OnDrop(func() { dropped.Add(1) })
				c.drop(t, r, other)
				require.Equal(t, c.dropped, dropped.Load() > 0)
				stop()
				before := dropped.Load()
				tenant.lock()
				require.Equal(t, before, dropped.Load())
			})
		})
	}
}
