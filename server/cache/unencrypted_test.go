package cache_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// An unencrypted cache behaves like an encrypted one, except that values are readable in the store.
func TestUnencryptedCacheStoresReadableValues(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"), cache.Unencrypted())
		for _, class := range classify.All {
			sealed, err := c.Seal(ctx, nil, &cache.Item{
				Key: "k", Value: []byte("a planted value"), Class: class, TTL: time.Minute, MediaType: "text/plain", Context: map[string]string{"a": "b"},
			})
			require.NoError(t, err)
			require.NotEmpty(t, sealed.Tag)
			require.NoError(t, c.Put(ctx, &sealed, cache.Condition{}))
			kept, _, err := kv.Get(ctx, store, stored("k"))
			require.NoError(t, err)
			require.Contains(t, string(kept), "NOT ENCRYPTED")
			require.Contains(t, string(kept), "a planted value")

			entry, err := c.Get(ctx, "k")
			require.NoError(t, err)
			require.Equal(t, "a planted value", string(entry.Value))
			require.Equal(t, "text/plain", entry.MediaType)
			require.Equal(t, map[string]string{"a": "b"}, entry.Context)
			require.Equal(t, class, entry.Class)
			require.Equal(t, sealed.Tag, entry.Tag)
			_, err = c.Expire(ctx, "k", time.Minute, cache.Condition{Present: true, Tags: []string{entry.Tag}})
			require.NoError(t, err)
			_, err = c.Get(ctx, "k", cache.MinClass(classify.PHI))
			if class == classify.PHI {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, classify.ErrTooLow)
			}
		}
		require.NoError(t, c.SetMany(ctx, []cache.Item{{Key: "a", Value: []byte{}, Class: classify.PII}, {Key: "b", Value: []byte("v"), Class: classify.PII}}))
		results, err := c.GetMany(ctx, []string{"a", "b", "none"})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		require.Equal(t, "v", string(results[1].Value))
		require.ErrorIs(t, results[2].Err, cache.ErrNotFound)
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", nil, classify.PHI, cache.TTL(25*time.Hour)), cache.ErrTTL)
		require.ErrorIs(t, c.SetEncrypted(ctx, string(make([]byte, 1025)), nil, classify.PHI), format.ErrTooLarge)
		require.ErrorIs(t, c.SetEncrypted(ctx, "k", make([]byte, format.MaxValue+1), classify.PHI), format.ErrTooLarge)
	})
}

// Each kind of cache refuses to read entries of the other kind, but can replace and delete them.
func TestCachesRefuseEntriesOfTheOtherKind(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		encrypting := cache.New(store, sealer("tenant"))
		plain := cache.New(store, sealer("tenant"), cache.Unencrypted())
		for _, pair := range [][2]*cache.Cache{{encrypting, plain}, {plain, encrypting}} {
			writer, reader := pair[0], pair[1]
			for _, class := range classify.All {
				requireRefused(t, writer, reader, class)
			}
		}
	})
}

// requireRefused checks that reader cannot read an entry of writer, but can replace and delete it.
func requireRefused(t *testing.T, writer, reader *cache.Cache, class classify.Class) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, writer.SetEncrypted(ctx, "k", []byte("value"), class, cache.TTL(time.Minute)))
	entry, err := writer.Get(ctx, "k")
	require.NoError(t, err)
	present := cache.Condition{Present: true, Tags: []string{entry.Tag}}

	value, err := reader.GetDecrypted(ctx, "k")
	require.ErrorIs(t, err, cache.ErrEncryption)
	require.Nil(t, value)
	_, err = reader.Inspect(ctx, "k")
	require.ErrorIs(t, err, cache.ErrEncryption)
	results, err := reader.GetMany(ctx, []string{"k"})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, cache.ErrEncryption)
	_, err = reader.Expire(ctx, "k", time.Second, present)
	require.ErrorIs(t, err, cache.ErrEncryption)
	require.ErrorIs(t, reader.Remove(ctx, "k", present), cache.ErrEncryption)
	sealed, err := reader.Seal(ctx, nil, &cache.Item{Key: "k", Value: []byte("new"), Class: class})
	require.NoError(t, err)
	require.ErrorIs(t, reader.Put(ctx, &sealed, present), cache.ErrEncryption)
	value, err = writer.GetDecrypted(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "value", string(value), "nothing was changed")

	require.NoError(t, reader.Put(ctx, &sealed, cache.Condition{}))
	value, err = reader.GetDecrypted(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "new", string(value))
	_, err = reader.Delete(ctx, "k")
	require.NoError(t, err)
}
