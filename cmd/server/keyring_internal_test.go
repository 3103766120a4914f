package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
)

// The keyset is in memory. The server is ready again when it has written the keyset back.
func TestNotReadyWhileKeysetsAreMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := keystoretest.NewMemory()
		var readOnly atomic.Bool
		store := keystoretest.NewFaultyStore(memory, func(keystoretest.Write) keystoretest.Fault {
			if readOnly.Load() {
				return keystoretest.FailBefore
			}
			return keystoretest.NoFault
		})
		kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
		require.NoError(t, err)
		ring, err := keyring.New(store, kms.NewSet(kek), "test")
		require.NoError(t, err)
		defer ring.Close()
		ready := (&keys{ring: ring, store: store}).ready
		require.NoError(t, ready(t.Context()))
		time.Sleep(3 * time.Second)
		readOnly.Store(true)
		memory.LoseDocuments(keystore.Keysets, identity.DefaultTenant)
		memory.LoseFeed()
		time.Sleep(3 * time.Second)
		require.ErrorIs(t, ready(t.Context()), keyring.ErrUnreadable)
		readOnly.Store(false)
		time.Sleep(3 * time.Second)
		require.NoError(t, ready(t.Context()))
	})
}
