package keyring

import (
	"context"
	"fmt"
	"slices"
	"sync"
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

func contentOf(t *testing.T, store keystore.Store, id string) []byte {
	t.Helper()
	content, err := store.Get(t.Context(), keystore.Keysets, id)
	require.NoError(t, err)
	return content
}

// If a document in a server's memory vanishes from the store, the server writes it back: immediately if the feed is
// lost with it, as by a failover, and within minutes if nothing announces the loss.
func TestVanishedIsWrittenBack(t *testing.T) {
	for _, c := range []struct {
		name     string
		lose     func(*keystoretest.Memory)
		within   time.Duration
		unlocked bool
	}{
		{"failover", func(m *keystoretest.Memory) { m.LoseDocuments(keystore.Keysets, "tenant"); m.LoseFeed() }, 3 * time.Second, true},
		{"removed unnoticed", func(m *keystoretest.Memory) { m.LoseDocuments(keystore.Keysets, "tenant") }, rereadInterval + 2*time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, tenant, _, store := cached(t)
				require.NoError(t, works(tenant))
				time.Sleep(3 * time.Second)
				before := contentOf(t, store, "tenant")
				c.lose(store)
				time.Sleep(c.within)
				require.Equal(t, before, contentOf(t, store, "tenant"))
				require.NoError(t, r.CheckMissing())
				missing, restored := r.MissingStats()
				require.Equal(t, []any{0, uint64(1)}, []any{missing, restored})
				require.NoError(t, works(tenant))
			})
		})
	}
}

// Without changes, the documents of all tenants are reread within rereadInterval, a few per check.
func TestRereadsAreSpreadOverTime(t *testing.T) {
	const tenants = 900
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		r := ringOver(t, store, newFlaky(t), WithTTL(MaxTTL))
		for i := range tenants {
			_, err := r.Tenant(t.Context(), fmt.Sprint("tenant-", i))
			require.NoError(t, err)
		}
		time.Sleep(3*time.Second + rereadInterval)
		begun, before := store.Reads(), store.Reads()
		for range rereadInterval / CheckInterval {
			time.Sleep(CheckInterval)
			require.LessOrEqual(t, store.Reads()-before, 2*tenants*int(CheckInterval)/int(rereadInterval))
			before = store.Reads()
		}
		require.InDelta(t, tenants, before-begun, tenants/100)
	})
}

// While a vanished document cannot be written back, the keyring reports it, creates no tenant, and keeps trying, even
// if the keys were dropped in the meantime.
func TestVanishedDocumentIsReportedUntilWrittenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := keystoretest.NewMemory()
		var broken atomic.Bool
		store := keystoretest.NewFaultyStore(memory, func(w keystoretest.Write) keystoretest.Fault {
			if broken.Load() && w.Name == "tenant" {
				return keystoretest.FailBefore
			}
			return keystoretest.NoFault
		})
		var losses losses
		r := ringOver(t, store, newFlaky(t), WithTTL(10*time.Minute), WithIncidentHandler(losses.add))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		time.Sleep(3 * time.Second)
		before := contentOf(t, memory, "tenant")
		broken.Store(true)
		memory.LoseDocuments(keystore.Keysets, "tenant")
		memory.LoseFeed()
		time.Sleep(3 * time.Second)
		require.ErrorIs(t, r.CheckMissing(), ErrUnreadable)
		require.NotContains(t, r.CheckMissing().Error(), "tenant", "it goes to the log")
		require.Equal(t, []Incident{{Tenant: "tenant"}}, losses.all())
		missing, restored := r.MissingStats()
		require.Equal(t, []any{1, uint64(0)}, []any{missing, restored})
		require.NoError(t, works(tenant), "keys in memory go on working")
		_, err = r.Tenant(t.Context(), "new")
		require.ErrorIs(t, err, ErrUnreadable)

		time.Sleep(time.Hour)
		require.Nil(t, tenant.state.Load())
		require.Error(t, r.CheckMissing())
		require.Error(t, works(tenant))
		broken.Store(false)
		time.Sleep(3 * time.Second)
		require.NoError(t, r.CheckMissing())
		require.Equal(t, before, contentOf(t, memory, "tenant"))
		require.NoError(t, works(tenant))
		_, err = r.Tenant(t.Context(), "new")
		require.NoError(t, err)
		require.Equal(t, []Incident{{Tenant: "tenant"}, {Tenant: "tenant", Restored: true}}, losses.all(), "each once")
	})
}

// losses collects incidents.
type losses struct {
	mu    sync.Mutex
	noted []Incident
}

func (l *losses) add(one Incident) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted = append(l.noted, one)
}

func (l *losses) all() []Incident {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.noted)
}

// If several servers have different states of a vanished document in memory, no key of any state is lost.
func TestServersMergeVanishedDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		var rings []*Keyring
		var tenants []*Tenant
		for i := range 3 {
			r := ringOver(t, store, newFlaky(t))
			r.Close() // does not follow changes
			tenant, err := r.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			_, err = tenant.Primary(t.Context(), format.UseCache, classify.All[i])
			require.NoError(t, err)
			rings, tenants = append(rings, r), append(tenants, tenant)
		}
		store.LoseDocuments(keystore.Keysets, "tenant")
		for _, i := range []int{0, 2, 1} {
			require.NoError(t, tenants[i].Reload(t.Context()))
		}
		d, err := rings[0].Document(t.Context(), "tenant")
		require.NoError(t, err)
		for i := range 3 {
			require.NotNil(t, d.Keyset(format.UseCache, classify.All[i]), i)
		}
	})
}

// The document of a shredded tenant is written back as well, after its keys left the memory.
func TestVanishedShreddedDocumentIsWrittenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tenant, _, store := cached(t, WithTTL(time.Minute))
		require.NoError(t, works(tenant))
		require.NoError(t, r.Shred(t.Context(), "tenant"))
		time.Sleep(2 * time.Minute)
		store.LoseDocuments(keystore.Keysets, "tenant")
		require.ErrorIs(t, works(tenant), envelope.ErrKeyDestroyed)
		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		require.True(t, d.Shredded())
	})
}

// A change is made even if its caller's context ended or the reply was lost. It fails only if it was not made.
func TestChangesSurviveStoreFaults(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := keystoretest.NewMemory()
				store := keystoretest.NewFaultyStore(memory, keystoretest.FaultAt(2, fault))
				r := ringOver(t, store, newFlaky(t))
				tenant, err := r.Tenant(t.Context(), "tenant")
				require.NoError(t, err)
				err = works(tenant)
				d, readErr := r.Document(t.Context(), "tenant")
				require.NoError(t, readErr)
				require.Equal(t, err == nil, d.Keyset(format.UseCache, classify.PHI) != nil)
				require.Equal(t, fault == keystoretest.FailBefore || fault == keystoretest.Reorder, err != nil)
				require.NoError(t, works(tenant))
				store.ApplyLateWrites()
				time.Sleep(2 * time.Second)
				require.NoError(t, works(tenant))
				d, err = r.Document(t.Context(), "tenant")
				require.NoError(t, err)
				require.Len(t, d.Keyset(format.UseCache, classify.PHI).Keys, 1)
			})
		})
	}
}

// Only tenants whose documents changed are reread, however many are unlocked.
func TestOnlyChangedDocumentsAreReread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		r, other := ringOver(t, store, newFlaky(t)), ringOver(t, store, newFlaky(t))
		for _, ring := range []*Keyring{r, other} { // as a server does when it starts
			_, err := ring.shredKey(t.Context())
			require.NoError(t, err)
		}
		for i := range 300 {
			_, err := r.Tenant(t.Context(), fmt.Sprint("tenant-", i))
			require.NoError(t, err)
		}
		time.Sleep(3 * time.Second)
		before := store.Reads()
		time.Sleep(3 * time.Second)
		require.Equal(t, before, store.Reads(), "nothing changed")
		require.NoError(t, other.Shred(t.Context(), "tenant-7"))
		_, err := other.Tenant(t.Context(), "locked here")
		require.NoError(t, err)
		before = store.Reads()
		time.Sleep(3 * time.Second)
		require.Equal(t, 5, store.Reads()-before, "three here, to reload the shredded one and to look at it again, and one for each change by the keyring that made it")
		tenant, err := r.Tenant(t.Context(), "tenant-7")
		require.NoError(t, err)
		require.Error(t, works(tenant))

		store.LoseFeed()
		before = store.Reads()
		time.Sleep(3 * time.Second)
		require.GreaterOrEqual(t, store.Reads()-before, 300)
	})
}

// If another process creates a document again after it vanished, a server that has the former one in memory merges
// both, even if no caller uses its keys: the store must have them when that server ends.
func TestRecreatedDocumentIsMerged(t *testing.T) {
	for _, c := range []struct{ name, owner string }{{"a tenant's", "tenant"}, {"the system document", ""}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, kek := keystoretest.NewMemory(), newFlaky(t)
				begin := func() *Keyring {
					r := ringOver(t, store, kek)
					_, err := r.unlock(t.Context(), r.tenant(c.owner))
					require.NoError(t, err)
					return r
				}
				roots := func(r *Keyring) []envelope.Root {
					d, err := r.ownerDocument(t.Context(), c.owner)
					require.NoError(t, err)
					return d.Roots()
				}
				holder := begin()
				time.Sleep(3*time.Second + CheckInterval/2) // no look comes between the next steps
				vanished := roots(holder)
				store.LoseDocuments(keystore.Keysets, c.owner)
				other := begin()
				anew := roots(other)
				require.NotEqual(t, vanished, anew)
				time.Sleep(3 * time.Second)
				require.ElementsMatch(t, append(vanished, anew...), roots(other))
				for _, r := range []*Keyring{holder, other} {
					_, err := r.unlock(t.Context(), r.tenant(c.owner))
					require.NoError(t, err)
				}
			})
		})
	}
}

// If a use of a tenant finds its document missing, the document is written back as soon as the store accepts it.
func TestUseWritesVanishedDocumentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := keystoretest.NewMemory()
		var broken atomic.Bool
		r := ringOver(t, keystoretest.NewFaultyStore(memory, func(keystoretest.Write) keystoretest.Fault {
			if broken.Load() {
				return keystoretest.FailBefore
			}
			return keystoretest.NoFault
		}), newFlaky(t))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		time.Sleep(3500 * time.Millisecond)
		before := contentOf(t, memory, "tenant")
		broken.Store(true)
		memory.LoseDocuments(keystore.Keysets, "tenant")
		require.ErrorIs(t, tenant.Reload(t.Context()), ErrUnreadable)
		require.ErrorIs(t, r.CheckMissing(), ErrUnreadable)
		broken.Store(false)
		time.Sleep(2 * CheckInterval)
		require.NoError(t, r.CheckMissing())
		require.Equal(t, before, contentOf(t, memory, "tenant"))
	})
}

// A backup from before a tenant was shredded does not bring it back while its shredded document is in memory.
func TestRestoreKeepsShreddedTenantInMemory(t *testing.T) {
	store, kek := keystoretest.NewMemory(), newFlaky(t)
	first := ringOver(t, store, kek)
	_, err := first.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	backup, err := first.Document(t.Context(), "tenant")
	require.NoError(t, err)
	first.Close()
	store.LoseDocuments(keystore.Keysets, "tenant")
	r := ringOver(t, store, kek)
	_, err = r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, r.Shred(t.Context(), "tenant"))
	_, _, err = r.RestoreDocument(t.Context(), backup, Tombstones{})
	require.NoError(t, err)
	d, err := r.Document(t.Context(), "tenant")
	require.NoError(t, err)
	require.True(t, d.Shredded())
}

// sluggish is a KEK that takes longer than a check waits for one tenant.
type sluggish struct{ *flaky }

func (s sluggish) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	select {
	case <-time.After(2 * reloadPatience):
		return s.flaky.Unwrap(ctx, wrapped, additionalData)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// If another process created a document again, a use of the tenant waits for the KEK as any other use does.
func TestRecreatedDocumentUnderASlowKEK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, kek := keystoretest.NewMemory(), newFlaky(t)
		r := ringOver(t, store, sluggish{kek})
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(tenant))
		time.Sleep(3*time.Second + CheckInterval/2) // the next steps fit between two looks
		store.LoseDocuments(keystore.Keysets, "tenant")
		_, err = ringOver(t, store, kek).Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, tenant.Reload(t.Context()))
		require.NoError(t, works(tenant))
		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		require.Len(t, d.Roots(), 2)
	})
}
