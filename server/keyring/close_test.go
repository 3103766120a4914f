package keyring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
)

// Close ends work that a caller started and no longer waits for, so nothing is written afterwards.
func TestCloseEndsUnlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		slow := &slowKEK{KEK: newFlaky(t)}
		r := ringOver(t, store, slow)
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		tenant.lock()
		slow.hangs.Store(true)
		go func() { _, _ = tenant.usableKeys(t.Context()) }()
		synctest.Wait()
		begun := time.Now()
		r.Close()
		require.Zero(t, time.Since(begun))
		require.True(t, r.unlockSem.TryAcquire(r.maxUnlocks), "no call of a KEK is under way")
		r.unlockSem.Release(r.maxUnlocks)
		slow.hangs.Store(false)
		require.NoError(t, works(tenant), "it is unlocked again")
	})
}
