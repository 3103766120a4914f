package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
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

func (m *meddling) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if len(writes) > 0 && writes[0].If == kv.Equals {
		m.before()
	}
	return m.Store.Write(ctx, writes)
}

// reseal does it to one entry.
func reseal(t *testing.T, c *cache.Cache, key string, due cache.Due) cache.Resealing {
	t.Helper()
	results, err := c.Reseal(t.Context(), []string{key}, 1<<10, due)
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0]
}

func all(classify.Class, format.KeyID) bool  { return true }
func none(classify.Class, format.KeyID) bool { return false }

// An entry that is sealed anew is what it was, under another key, for the time that it had left.
func TestReseal(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) kv.Store{
		"redis": func(t *testing.T) kv.Store { return rediskv.New(redistest.Start(t).Client(t)) },
		"embedded": func(t *testing.T) kv.Store {
			store, err := sqlitekv.Open(t.TempDir(), nil)
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

				require.Equal(t, cache.Kept, reseal(t, c, key, none).Did)
				was := reseal(t, c, key, all)
				require.NoError(t, was.Err)
				require.Equal(t, cache.Anew, was.Did)
				require.Equal(t, before.KeyID, was.KeyID)

				after, err := c.Get(ctx, key)
				require.NoError(t, err)
				require.Equal(t, primary, after.KeyID)
				require.NotEqual(t, before.Tag, after.Tag)
				before.KeyID, before.Tag = after.KeyID, after.Tag
				require.Equal(t, before, after)
				left, err := c.TTL(ctx, key)
				require.NoError(t, err)
				require.InDelta(t, time.Hour, left, float64(time.Minute))
			}
		})
	}
}

// What was written between the opening and the swap stays, and what does not open, or is not the cache's, is
// left as it is.
func TestResealLeaves(t *testing.T) {
	inner, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer inner.Close()
	ctx, store, sealer := t.Context(), &meddling{Store: inner}, seal.NewSealer(resealTenant(t))
	c := cache.New(store, sealer)
	require.NoError(t, c.SetEncrypted(ctx, "k", []byte("first"), classify.PHI, cache.TTL(time.Hour)))
	store.before = func() {
		require.NoError(t, c.SetEncrypted(ctx, "k", []byte("second"), classify.PHI, cache.TTL(time.Hour)))
	}
	require.Equal(t, cache.Changed, reseal(t, c, "k", all).Did)
	value, err := c.GetDecrypted(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "second", string(value))

	require.Equal(t, cache.Kept, reseal(t, c, "missing", all).Did)

	moved, _, err := kv.Get(ctx, inner, stored("k"))
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
		require.NoError(t, kv.Set(ctx, inner, stored("other"), there.content, 0))
		one := reseal(t, c, "other", all)
		require.ErrorIs(t, one.Err, there.err)
		require.Equal(t, there.did, one.Did)
		if there.err != nil {
			require.Equal(t, classify.PHI, one.Class)
		}
		now, _, err := kv.Get(ctx, inner, stored("other"))
		require.NoError(t, err)
		require.Equal(t, there.content, now)
	}
}

// Each of many is what it would be alone; one that is longer than the limit is left, and its length told.
func TestResealMany(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer store.Close()
	ctx, tenant := t.Context(), resealTenant(t)
	c := cache.New(store, seal.NewSealer(tenant))
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprint(i))
		value := bytes.Repeat([]byte{byte(i)}, 200*i)
		item := cache.Item{Key: keys[i], Value: value, Class: classify.All[i%len(classify.All)], MediaType: []string{"", "image/png"}[i%2]}
		require.NoError(t, c.SetMany(ctx, []cache.Item{item}))
	}
	before, err := c.GetMany(ctx, keys)
	require.NoError(t, err)
	require.NoError(t, kv.Set(ctx, store, stored("foreign"), []byte("no package"), 0))
	moved, _, err := kv.Get(ctx, store, stored("4"))
	require.NoError(t, err)
	require.NoError(t, kv.Set(ctx, store, stored("moved"), moved, 0))
	tooLong := strings.Repeat("k", format.MaxName+1)
	results, err := c.Reseal(ctx, append([]string{"missing", "foreign", "moved", tooLong}, keys...), 4000, all)
	require.NoError(t, err)
	require.Equal(t, []cache.Resealed{cache.Kept, cache.Foreign, cache.Kept, cache.Kept}, []cache.Resealed{
		results[0].Did, results[1].Did, results[2].Did, results[3].Did,
	})
	require.NoError(t, errors.Join(results[0].Err, results[1].Err))
	require.ErrorIs(t, results[2].Err, envelope.ErrAuthentication)
	require.ErrorIs(t, results[3].Err, format.ErrTooLarge)
	after, err := c.GetMany(ctx, keys)
	require.NoError(t, err)
	for i, one := range results[4:] {
		pkg, _, err := kv.Get(ctx, store, stored(keys[i]))
		require.NoError(t, err)
		if len(pkg) > 4000 {
			require.Equal(t, cache.Resealing{Did: cache.Large, Bytes: len(pkg)}, one)
			require.Equal(t, before[i], after[i])
			continue
		}
		require.Equal(t, cache.Anew, one.Did)
		require.NotEqual(t, before[i].Tag, after[i].Tag)
		before[i].Tag = after[i].Tag
		require.Equal(t, before[i], after[i])
	}
	results, err = c.Reseal(ctx, keys[39:], 4000, none)
	require.NoError(t, err)
	require.Equal(t, []any{cache.Kept, after[39].KeyID, 39 * 200}, []any{results[0].Did, results[0].KeyID, results[0].Size - 11}, "its beginning tells that it is not due")
	results, err = c.Reseal(ctx, keys[39:], 50, none)
	require.NoError(t, err)
	require.Equal(t, cache.Large, results[0].Did, "half of a header tells nothing")
	results, err = c.Reseal(ctx, append([]string{"x", "x", "x", "x"}, keys...), 4000, all)
	require.NoError(t, err)
	require.Equal(t, cache.Anew, results[4].Did)
	require.Equal(t, cache.Large, results[4+39].Did)
}

// failing is a store whose batch of swaps breaks off.
type failing struct{ kv.Store }

func (f failing) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if writes[0].If != kv.Equals {
		return f.Store.Write(ctx, writes)
	}
	errs := make(kv.BatchError, len(writes))
	swapped := make([]bool, len(writes))
	for i := range writes {
		if errs[i] = kv.ErrUnavailable; i == 0 && len(writes) > 1 {
			var done []bool
			if done, errs[0] = f.Store.Write(ctx, writes[:1]); errs[0] == nil {
				swapped[0] = done[0]
			}
		}
	}
	return swapped, errs
}

// Where the store fails half-way, what was sealed anew is told from what is not known.
func TestResealBreaksOff(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer store.Close()
	c := cache.New(failing{store}, seal.NewSealer(resealTenant(t)))
	for _, key := range []string{"a", "b"} {
		require.NoError(t, c.SetEncrypted(t.Context(), key, []byte("value"), classify.PHI))
	}
	results, err := c.Reseal(t.Context(), []string{"a", "b"}, 1<<10, all)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, []cache.Resealed{cache.Anew, cache.Kept}, []cache.Resealed{results[0].Did, results[1].Did})
	for _, key := range []string{"a", "b"} {
		_, err := c.GetDecrypted(t.Context(), key)
		require.NoError(t, err)
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
