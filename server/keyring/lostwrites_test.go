package keyring

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// If a store loses the last writes, a server that made or read them restores them within seconds, even if the feed
// does not show the loss because the server's position is earlier.
func TestLostLastWritesAreRestored(t *testing.T) {
	shred := func(t *testing.T, r *Keyring, _ *Tenant) error { return r.Shred(t.Context(), "tenant") }
	hasKey := func(d *envelope.Document) bool { return d.Keyset(format.UseCache, classify.PHI) != nil }
	for _, c := range []struct {
		name   string
		locked bool
		change func(*testing.T, *Keyring, *Tenant) error
		there  func(*envelope.Document) bool
	}{
		{"key", false, func(_ *testing.T, _ *Keyring, tenant *Tenant) error { return works(tenant) }, hasKey},
		{"shredding", false, shred, (*envelope.Document).Shredded},
		{"shredding of a locked tenant", true, shred, (*envelope.Document).Shredded},
		{"state of a key of a locked tenant", true, func(t *testing.T, r *Keyring, _ *Tenant) error {
			return r.Edit(t.Context(), "tenant", func(e *Edit) error {
				_, err := e.newKey(t.Context(), format.UseFile, classify.PHI)
				if err == nil {
					err = e.Document.Advance(format.UseFile, classify.PHI, e.Keyset(format.UseFile, classify.PHI).Primary(), envelope.Compromised)
				}
				return err
			})
		}, func(d *envelope.Document) bool {
			s := d.Keyset(format.UseFile, classify.PHI)
			return s != nil && s.Keys[0].State == envelope.Compromised
		}},
		{"second change of a locked tenant", true, func(t *testing.T, r *Keyring, _ *Tenant) error {
			var id format.KeyID
			err := r.Edit(t.Context(), "tenant", func(e *Edit) (err error) {
				id, err = e.newKey(t.Context(), format.UseFile, classify.PHI)
				return err
			})
			require.NoError(t, err)
			return r.Advance(t.Context(), "tenant", format.UseFile, classify.PHI, id, envelope.Compromised)
		}, func(d *envelope.Document) bool {
			s := d.Keyset(format.UseFile, classify.PHI)
			return s != nil && s.Keys[0].State == envelope.Compromised
		}},
		{"key of a tenant that makes room for another", false, func(_ *testing.T, _ *Keyring, tenant *Tenant) error {
			defer tenant.lock()
			return works(tenant)
		}, hasKey},
		{"another server's key", true, func(t *testing.T, r *Keyring, tenant *Tenant) error {
			other := ringOver(t, r.store, newFlaky(t))
			theirs, err := other.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			require.NoError(t, works(theirs))
			other.Close()
			return works(tenant)
		}, hasKey},
	} {
		for _, feed := range []string{"feed from before", "feed lost"} {
			t.Run(c.name+", "+feed, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := keystoretest.NewMemory()
					r := ringOver(t, store, newFlaky(t))
					_, err := r.shredKey(t.Context()) // as a server does when it starts
					require.NoError(t, err)
					tenant, err := r.Tenant(t.Context(), "tenant")
					require.NoError(t, err)
					time.Sleep(3500 * time.Millisecond) // it has read the feed
					if c.locked {
						tenant.lock()
					}
					lose := store.Snapshot()
					require.NoError(t, c.change(t, r, tenant))
					if feed == "feed lost" {
						time.Sleep(3 * time.Second) // it has read the feed's entry of the change
					}
					lose()
					time.Sleep(3 * time.Second)
					d, err := r.Document(t.Context(), "tenant")
					require.NoError(t, err)
					require.True(t, c.there(d))
					runtime.KeepAlive(tenant)
				})
			})
		}
	}
}

// feedless is a store whose feed can fail.
type feedless struct {
	*keystoretest.Memory
	fails atomic.Bool
}

func (f *feedless) Changes(ctx context.Context, since keystore.Position) ([]keystore.Change, keystore.Position, error) {
	if f.fails.Load() {
		return nil, "", keystore.ErrUnavailable
	}
	return f.Memory.Changes(ctx, since)
}

// Lost writes are also restored if the feed cannot be read.
func TestLostLastWritesAreRestoredWithoutFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &feedless{Memory: keystoretest.NewMemory()}
		r := ringOver(t, store, newFlaky(t))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		time.Sleep(3500 * time.Millisecond)
		lose := store.Snapshot()
		require.NoError(t, works(tenant))
		store.fails.Store(true)
		time.Sleep(3 * time.Second)
		lose()
		store.fails.Store(false)
		time.Sleep(3 * time.Second)
		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		require.NotNil(t, d.Keyset(format.UseCache, classify.PHI))
	})
}

// A server that restores the document of a locked tenant loses no state that a key got in the store in the meantime.
func TestLostLastWritesAreMergedWithLaterOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		r, other := ringOver(t, store, newFlaky(t)), ringOver(t, store, newFlaky(t))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		former, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(t, err)
		time.Sleep(3500 * time.Millisecond)
		tenant.lock()
		lose := store.Snapshot()
		require.NoError(t, replaceRoots(t, r))
		lose()
		require.NoError(t, other.Advance(t.Context(), "tenant", format.UseCache, classify.PHI, former, envelope.Disabled))
		time.Sleep(3 * time.Second)
		require.NoError(t, works(tenant))
		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		require.EqualValues(t, 2, d.Roots()[0].Generation)
		require.Equal(t, envelope.Disabled, d.Keyset(format.UseCache, classify.PHI).Key(former).State)
	})
}

// If the feed cannot be read for a long time, changes are noticed after at most rereadInterval.
func TestChangesAreNoticedWithoutFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &feedless{Memory: keystoretest.NewMemory()}
		r, another := ringOver(t, store, newFlaky(t), WithTTL(MaxTTL)), ringOver(t, store.Memory, newFlaky(t))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		time.Sleep(3500 * time.Millisecond)
		store.fails.Store(true)
		require.NoError(t, another.Shred(t.Context(), "tenant"))
		time.Sleep(2 * rereadInterval)
		require.Error(t, works(tenant))
	})
}
