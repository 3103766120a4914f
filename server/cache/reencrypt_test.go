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

// interferingStore is a store that calls before just before a compare-and-swap.
type interferingStore struct {
	kv.Store
	before func()
}

func (m *interferingStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if len(writes) > 0 && writes[0].If == kv.Equals {
		m.before()
	}
	return m.Store.Write(ctx, writes)
}

// reencrypt calls Reencrypt for one entry.
func reencrypt(t *testing.T, c *cache.Cache, key string, due cache.Due) cache.ReencryptResult {
	t.Helper()
	results, err := c.Reencrypt(t.Context(), []string{key}, 1<<10, due)
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0]
}

func all(classify.Class, format.KeyID) bool  { return true }
func none(classify.Class, format.KeyID) bool { return false }

// A reencrypted entry has another key and tag. Its value, metadata and remaining time to live do not change.
func TestReencryptKeepsTheEntry(t *testing.T) {
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
			ctx, store, tenant := t.Context(), open(t), newTenant(t)
			c := cache.New(store, seal.NewSealer(tenant))
			for _, class := range classify.All {
				key := class.String()
				item := &cache.Item{Key: key, Value: []byte("a value"), Class: class, TTL: time.Hour, Context: map[string]string{"a": "b"}, MediaType: "text/plain"}
				require.NoError(t, c.SetMany(ctx, []cache.Item{*item}))
				before, err := c.Get(ctx, key)
				require.NoError(t, err)
				_, err = tenant.Rotate(ctx, format.UseCache, class, nil)
				require.NoError(t, err)
				primary, err := tenant.Primary(ctx, format.UseCache, class)
				require.NoError(t, err)
				time.Sleep(2 * time.Millisecond) // so that the entry would show it if Reencrypt dated it again

				require.Equal(t, cache.Unchanged, reencrypt(t, c, key, none).Outcome)
				was := reencrypt(t, c, key, all)
				require.NoError(t, was.Err)
				require.Equal(t, cache.Reencrypted, was.Outcome)
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

// Reencrypt does not change an entry that is written in the meantime, does not open, or is not a package of the cache.
func TestReencryptLeavesOtherValues(t *testing.T) {
	inner, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer inner.Close()
	ctx, store, sealer := t.Context(), &interferingStore{Store: inner}, seal.NewSealer(newTenant(t))
	c := cache.New(store, sealer)
	require.NoError(t, c.SetEncrypted(ctx, "k", []byte("first"), classify.PHI, cache.TTL(time.Hour)))
	store.before = func() {
		require.NoError(t, c.SetEncrypted(ctx, "k", []byte("second"), classify.PHI, cache.TTL(time.Hour)))
	}
	require.Equal(t, cache.Overwritten, reencrypt(t, c, "k", all).Outcome)
	value, err := c.GetDecrypted(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "second", string(value))

	require.Equal(t, cache.Unchanged, reencrypt(t, c, "missing", all).Outcome)

	moved, _, err := kv.Get(ctx, inner, stored("k"))
	require.NoError(t, err)
	field, err := sealer.Seal(ctx, nil, seal.Request{Use: format.UseField, Class: classify.PHI, Type: format.Bytes}, []byte("value"))
	require.NoError(t, err)
	for _, there := range []struct {
		content []byte
		did     cache.Outcome
		err     error
	}{
		{moved, cache.Unchanged, envelope.ErrAuthentication},
		{field, cache.NotAPackage, nil},
		{[]byte("no package"), cache.NotAPackage, nil},
	} {
		require.NoError(t, kv.Set(ctx, inner, stored("other"), there.content, 0))
		one := reencrypt(t, c, "other", all)
		require.ErrorIs(t, one.Err, there.err)
		require.Equal(t, there.did, one.Outcome)
		if there.err != nil {
			require.Equal(t, classify.PHI, one.Class)
		}
		now, _, err := kv.Get(ctx, inner, stored("other"))
		require.NoError(t, err)
		require.Equal(t, there.content, now)
	}
}

// Entries of a batch have the same results as alone. An entry longer than the limit is not changed, and its size is
// returned.
func TestReencryptBatch(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer store.Close()
	ctx, tenant := t.Context(), newTenant(t)
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
	results, err := c.Reencrypt(ctx, append([]string{"missing", "foreign", "moved", tooLong}, keys...), 4000, all)
	require.NoError(t, err)
	require.Equal(t, []cache.Outcome{cache.Unchanged, cache.NotAPackage, cache.Unchanged, cache.Unchanged}, []cache.Outcome{
		results[0].Outcome, results[1].Outcome, results[2].Outcome, results[3].Outcome,
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
			require.Equal(t, cache.ReencryptResult{Outcome: cache.TooLong, StoredSize: len(pkg)}, one)
			require.Equal(t, before[i], after[i])
			continue
		}
		require.Equal(t, cache.Reencrypted, one.Outcome)
		require.NotEqual(t, before[i].Tag, after[i].Tag)
		before[i].Tag = after[i].Tag
		require.Equal(t, before[i], after[i])
	}
	results, err = c.Reencrypt(ctx, keys[39:], 4000, none)
	require.NoError(t, err)
	require.Equal(t, []any{cache.Unchanged, after[39].KeyID, 39 * 200}, []any{results[0].Outcome, results[0].KeyID, results[0].Size - 11}, "the beginning suffices to see that it is not due")
	results, err = c.Reencrypt(ctx, keys[39:], 50, none)
	require.NoError(t, err)
	require.Equal(t, cache.TooLong, results[0].Outcome, "half of a header does not suffice")
	results, err = c.Reencrypt(ctx, append([]string{"x", "x", "x", "x"}, keys...), 4000, all)
	require.NoError(t, err)
	require.Equal(t, cache.Reencrypted, results[4].Outcome)
	require.Equal(t, cache.TooLong, results[4+39].Outcome)
}

// partialStore is a store that fails after the first write of a batch of swaps.
type partialStore struct{ kv.Store }

func (f partialStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
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

// If the store fails within the batch, the outcome is Reencrypted only for entries that were replaced.
func TestReencryptReportsPartialFailure(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer store.Close()
	c := cache.New(partialStore{store}, seal.NewSealer(newTenant(t)))
	for _, key := range []string{"a", "b"} {
		require.NoError(t, c.SetEncrypted(t.Context(), key, []byte("value"), classify.PHI))
	}
	results, err := c.Reencrypt(t.Context(), []string{"a", "b"}, 1<<10, all)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, []cache.Outcome{cache.Reencrypted, cache.Unchanged}, []cache.Outcome{results[0].Outcome, results[1].Outcome})
	for _, key := range []string{"a", "b"} {
		_, err := c.GetDecrypted(t.Context(), key)
		require.NoError(t, err)
	}
}

func newTenant(t *testing.T) *keyring.Tenant {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	ring, err := keyring.Open(t.TempDir(), kek, "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	tenant, err := ring.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	return tenant
}
