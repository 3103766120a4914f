package cache_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Even if replies of the store are lost, Reencrypt reports an entry as reencrypted exactly if it is, and RemoveMany
// reports a removed entry as removed.
func TestBatchResultsUnderStoreFaults(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer store.Close()
	f := kvtest.NewFaulty(store, nil)
	ctx, c := t.Context(), cache.New(f, seal.NewSealer(newTenant(t)))
	keys := []string{"a", "b", "c", "d", "e"}
	for name, fault := range kvtest.Faults {
		t.Run(name, func(t *testing.T) {
			tags := make([]string, len(keys))
			for i, key := range keys {
				require.NoError(t, c.SetEncrypted(ctx, key, []byte("value"), classify.PHI, cache.TTL(time.Hour)))
				entry, err := c.Inspect(ctx, key)
				require.NoError(t, err)
				tags[i] = entry.Tag
			}
			f.SetFaults(kvtest.Once(fault))
			results, err := c.Reencrypt(ctx, keys, 1<<10, all)
			f.Flush(ctx)
			require.Equal(t, fault == kvtest.Fail, err != nil)
			for i, key := range keys {
				entry, err := c.Get(ctx, key)
				require.NoError(t, err)
				require.Equal(t, entry.Tag != tags[i], results[i].Outcome == cache.Reencrypted)
				require.Equal(t, fault == kvtest.Fail && i == 0, entry.Tag == tags[i])
			}
			f.SetFaults(kvtest.Once(fault))
			for i, err := range c.RemoveMany(ctx, keys) {
				if fault == kvtest.Fail && i == 0 {
					require.ErrorIs(t, err, kv.ErrUnavailable)
					continue
				}
				require.NoError(t, err)
			}
			f.Flush(ctx)
			f.SetFaults(nil)
			_, err = c.DeleteMany(ctx, keys)
			require.NoError(t, err)
		})
	}
}
