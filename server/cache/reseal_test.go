package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/badgerkv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// meddling is a store in which something is written just before a compare-and-swap.
type meddling struct {
	kv.Store
	before func()
}

func (m *meddling) CompareAndSwap(ctx context.Context, key string, old, value []byte) (bool, error) {
	m.before()
	return m.Store.CompareAndSwap(ctx, key, old, value)
}

func all(classify.Class, format.KeyID) bool  { return true }
func none(classify.Class, format.KeyID) bool { return false }

// An entry that is sealed anew is what it was, under another key, for the time that it had left.
func TestReseal(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) kv.Store{
		"redis": func(t *testing.T) kv.Store { return rediskv.New(redistest.Start(t).Client(t)) },
		"badger": func(t *testing.T) kv.Store {
			store, err := badgerkv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			return store
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, store, tenant := t.Context(), open(t), resealTenant(t)
			c := cache.New(store, seal.NewSealer(tenant))
			for _, class := range classify.All {
				key := class.String()
				item := &cache.Item{Key: key, Value: []byte("a value"), Class: class, TTL: time.Hour, Context: map[string]string{"a": "b"}, MediaType: "text/plain"}
				require.NoError(t, c.SetMany(ctx, []cache.Item{*item}))
				before, err := c.Get(ctx, key)
				require.NoError(t, err)
				_, err = tenant.Rotate(ctx, format.UseCache, class, nil)
				require.NoError(t, err)
				primary, err := tenant.Primary(format.UseCache, class)
				require.NoError(t, err)
				time.Sleep(2 * time.Millisecond) // the time in the package must not be that of the sealing anew

				_, did, err := c.Reseal(ctx, key, none)
				require.NoError(t, err)
				require.Equal(t, cache.Kept, did)
				was, did, err := c.Reseal(ctx, key, all)
				require.NoError(t, err)
				require.Equal(t, cache.Anew, did)
				require.Equal(t, before.KeyID, was.KeyID)

				after, err := c.Get(ctx, key)
				require.NoError(t, err)
				require.Equal(t, primary, after.KeyID)
				require.NotEqual(t, before.Tag, after.Tag)
				before.KeyID, before.Tag = after.KeyID, after.Tag
				require.Equal(t, before, after)
				left, err := c.TTL(ctx, key)
				require.NoError(t, err)
				require.InDelta(t, time.Hour, left, float64(time.Second))
			}
		})
	}
}

// What was written between the opening and the swap stays, and what does not open, or is not the cache's, is left as it is.
func TestResealLeaves(t *testing.T) {
	inner, err := badgerkv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer inner.Close()
	ctx, store, sealer := t.Context(), &meddling{Store: inner}, seal.NewSealer(resealTenant(t))
	c := cache.New(store, sealer)
	require.NoError(t, c.SetEncrypted(ctx, "k", []byte("first"), classify.PHI, time.Hour, nil))
	store.before = func() {
		require.NoError(t, c.SetEncrypted(ctx, "k", []byte("second"), classify.PHI, time.Hour, nil))
	}
	_, did, err := c.Reseal(ctx, "k", all)
	require.NoError(t, err)
	require.Equal(t, cache.Changed, did)
	value, err := c.GetDecrypted(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "second", string(value))

	_, did, err = c.Reseal(ctx, "missing", all)
	require.NoError(t, err)
	require.Equal(t, cache.Kept, did)

	moved, _, err := inner.Get(ctx, stored("k"))
	require.NoError(t, err)
	field, err := sealer.Seal(nil, seal.Request{Use: format.UseField, Class: classify.PHI, Type: format.Bytes}, []byte("value"))
	require.NoError(t, err)
	for _, there := range []struct {
		content []byte
		did     cache.Resealed
		err     error
	}{
		{moved, cache.Kept, envelope.ErrAuthentication},
		{field, cache.Foreign, nil},
		{[]byte("no package"), cache.Foreign, nil},
	} {
		require.NoError(t, inner.Set(ctx, stored("other"), there.content, 0))
		entry, did, err := c.Reseal(ctx, "other", all)
		require.ErrorIs(t, err, there.err)
		require.Equal(t, there.did, did)
		if err != nil {
			require.Equal(t, classify.PHI, entry.Class)
		}
		now, _, err := inner.Get(ctx, stored("other"))
		require.NoError(t, err)
		require.Equal(t, there.content, now)
	}
}

func resealTenant(t *testing.T) *keyring.Tenant {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.Open(t.TempDir(), kek, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	tenant, err := ring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	return tenant
}
