package keyring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// A document is due when the first of its primaries reaches the age. A key that a clock in 2099 made does not
// postpone that: it is due at once.
func TestDue(t *testing.T) {
	const age = 90 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		store := keystoretest.NewMemory()
		r := ringOver(t, store, newFlaky(t), WithDueTime(DueAfter(age, time.Now)))
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		due := func(until time.Time) []string {
			t.Helper()
			names, err := store.Due(t.Context(), keystore.Keysets, until.UnixMilli(), 10)
			require.NoError(t, err)
			return names
		}
		never := time.Now().Add(100 * 365 * 24 * time.Hour)
		require.Empty(t, due(never), "it has no keys")
		begun := time.Now()
		require.NoError(t, works(tenant))
		time.Sleep(time.Hour)
		_, err = tenant.Primary(format.UseFile, classify.PII)
		require.NoError(t, err)
		require.Empty(t, due(begun.Add(age-time.Second)))
		require.Equal(t, []string{"tenant"}, due(begun.Add(age)))
		_, err = tenant.Rotate(t.Context(), format.UseCache, classify.PHI, nil)
		require.NoError(t, err)
		require.Empty(t, due(begun.Add(age)))
		require.Equal(t, []string{"tenant"}, due(begun.Add(age+2*time.Hour)))

		d, err := r.Document(t.Context(), "tenant")
		require.NoError(t, err)
		set := d.Keyset(format.UseCache, classify.PHI)
		for ahead, want := range map[time.Duration]time.Time{
			0: time.Now().Add(age), time.Minute: time.Now().Add(age + time.Minute), 70 * 365 * 24 * time.Hour: time.Now(),
		} {
			for i := range set.Keys {
				set.Keys[i].CreatedAt = time.Now().Add(ahead).UnixMilli()
			}
			require.Equal(t, want.UnixMilli(), KeysetDue(set, age, time.Now()), ahead)
		}
	})
}
