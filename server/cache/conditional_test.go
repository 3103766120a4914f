package cache_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// put writes a value under k and returns its tag.
func put(t *testing.T, c *cache.Cache, value string, condition cache.Condition) (string, error) {
	t.Helper()
	sealed, err := c.Seal(t.Context(), nil, &cache.Item{Key: "k", Value: []byte(value), Class: classify.PHI, TTL: time.Hour, MediaType: "text/plain"})
	require.NoError(t, err)
	require.Equal(t, time.Hour, sealed.TTL)
	return sealed.Tag, c.Put(t.Context(), &sealed, condition)
}

func requireEntry(t *testing.T, c *cache.Cache, value, tag string) {
	t.Helper()
	entry, err := c.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, []string{value, tag, "text/plain"}, []string{string(entry.Value), entry.Tag, entry.MediaType})
}

// listStore is a store in which the entry k becomes a Redis list before each write.
type listStore struct {
	kv.Store
	client *redis.Client
}

func (s listStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if err := errors.Join(s.client.Del(ctx, stored("k")).Err(), s.client.RPush(ctx, stored("k"), "x").Err()); err != nil {
		return nil, err
	}
	return s.Store.Write(ctx, writes)
}

// A conditional change of an entry that becomes a list in the meantime returns the error of a read.
func TestChangeRefusesAnotherRedisType(t *testing.T) {
	client := redistest.Start(t).Client(t)
	store, sealer := rediskv.New(client), sealers(t)("tenant")
	whole, c := cache.New(store, sealer), cache.New(listStore{store, client}, sealer)
	for name, change := range map[string]func() error{
		"put":    func() error { _, err := put(t, c, "v", cache.Condition{Present: true}); return err },
		"remove": func() error { return c.Remove(t.Context(), "k", cache.Condition{Present: true}) },
		"expire": func() error {
			_, err := c.Expire(t.Context(), "k", time.Minute, cache.Condition{})
			return err
		},
	} {
		_, err := put(t, whole, "v", cache.Condition{})
		require.NoError(t, err)
		require.ErrorIs(t, change(), envelope.ErrAuthentication, name)
		there, err := c.Exists(t.Context(), "k")
		require.NoError(t, err)
		require.True(t, there)
	}
	_, err := put(t, whole, "v", cache.Condition{Absent: true})
	require.ErrorIs(t, err, cache.ErrPrecondition)
}

func TestConditionsOfPutRemoveAndExpire(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		_, err := put(t, c, "none", cache.Condition{Present: true})
		require.ErrorIs(t, err, cache.ErrPrecondition)
		first, err := put(t, c, "first", cache.Condition{Absent: true})
		require.NoError(t, err)
		requireEntry(t, c, "first", first)
		_, err = put(t, c, "again", cache.Condition{Absent: true})
		require.ErrorIs(t, err, cache.ErrPrecondition)
		second, err := put(t, c, "first", cache.Condition{Present: true, Tags: []string{"x", first}})
		require.NoError(t, err)
		require.NotEqual(t, first, second, "another write of the same value")
		for _, tags := range [][]string{{first}, {}, {""}} {
			_, err = put(t, c, "late", cache.Condition{Present: true, Tags: tags})
			require.ErrorIs(t, err, cache.ErrPrecondition)
			require.ErrorIs(t, c.Remove(ctx, "k", cache.Condition{Present: true, Tags: tags}), cache.ErrPrecondition)
			_, err = c.Expire(ctx, "k", time.Minute, cache.Condition{Present: true, Tags: tags})
			require.ErrorIs(t, err, cache.ErrPrecondition)
		}
		requireEntry(t, c, "first", second)
		left, err := c.TTL(ctx, "k")
		require.NoError(t, err)
		require.InDelta(t, time.Hour, left, float64(time.Minute))
		third, err := put(t, c, "third", cache.Condition{Present: true})
		require.NoError(t, err)
		require.NoError(t, c.Remove(ctx, "k", cache.Condition{Present: true, Tags: []string{third}}))
		require.ErrorIs(t, c.Remove(ctx, "k", cache.Condition{}), cache.ErrNotFound)
		require.ErrorIs(t, c.Remove(ctx, "k", cache.Condition{Present: true}), cache.ErrPrecondition)
	})
}

// The maximum time to live of a class counts from the encryption of the value, however often Expire is called.
func TestExpireIsBoundedByAge(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx, c := t.Context(), cache.New(store, sealer("tenant"))
		tag, err := put(t, c, "v", cache.Condition{})
		require.NoError(t, err)
		for _, ttl := range []time.Duration{10 * time.Minute, 23 * time.Hour, time.Minute} {
			entry, err := c.Expire(ctx, "k", ttl, cache.Condition{})
			require.NoError(t, err)
			require.Equal(t, tag, entry.Tag)
			left, err := c.TTL(ctx, "k")
			require.NoError(t, err)
			require.InDelta(t, ttl, left, float64(30*time.Second))
		}
		_, err = c.Expire(ctx, "k", time.Minute, cache.Condition{})
		require.NoError(t, err)
		time.Sleep(2 * time.Millisecond)
		_, err = c.Expire(ctx, "k", 24*time.Hour, cache.Condition{})
		require.ErrorIs(t, err, cache.ErrTTL, "the value has an age")
		_, err = c.Expire(ctx, "k", 0, cache.Condition{})
		require.ErrorIs(t, err, cache.ErrNegativeTTL)
		_, err = c.Expire(ctx, "none", time.Minute, cache.Condition{})
		require.ErrorIs(t, err, cache.ErrNotFound)
		_, err = c.TTL(ctx, "none")
		require.ErrorIs(t, err, cache.ErrNotFound)
		require.NoError(t, c.SetEncrypted(ctx, "p", nil, classify.Public))
		_, err = c.Expire(ctx, "p", 1000*time.Hour, cache.Condition{})
		require.NoError(t, err)
	})
}

// Tenants do not see each other's entries, even if their ids contain separators and patterns.
func TestTenantsAreIsolated(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store, sealer func(string) *seal.Sealer) {
		ctx := t.Context()
		tenants := []string{"a", "a/cache/a", "a%2Fcache", "../a", "a*", "é"}
		for _, id := range tenants {
			c := cache.New(store, sealer(id))
			for _, key := range []string{"k", "a/cache/k", "*", id} {
				require.NoError(t, c.SetEncrypted(ctx, key, []byte(id), classify.PHI))
			}
		}
		for _, id := range tenants {
			c := cache.New(store, sealer(id))
			value, err := c.GetDecrypted(ctx, "k")
			require.NoError(t, err)
			require.Equal(t, id, string(value))
			require.ElementsMatch(t, unique("k", "a/cache/k", "*", id), list(t, c, ""))
			require.ElementsMatch(t, unique("*"), list(t, c, "*")[:1])
		}
		_, _, err := cache.New(store, sealer("a")).List(ctx, "", "no cursor", 1)
		require.ErrorIs(t, err, kv.ErrCursor)
	})
}

func unique(keys ...string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

func list(t *testing.T, c *cache.Cache, prefix string) []string {
	t.Helper()
	var all []string
	for cursor := ""; ; {
		keys, next, err := c.List(t.Context(), prefix, cursor, 2)
		require.NoError(t, err)
		if all = append(all, keys...); next == "" {
			return unique(all...)
		}
		cursor = next
	}
}

func TestEveryWriteHasItsOwnTag(t *testing.T) {
	c := cache.New(nil, sealers(t)("tenant"))
	known := map[string]bool{}
	for _, class := range classify.All {
		for range 100 {
			sealed, err := c.Seal(t.Context(), nil, &cache.Item{Key: "k", Class: class})
			require.NoError(t, err)
			require.Regexp(t, `^[A-Za-z0-9_-]{16}$`, sealed.Tag)
			require.False(t, known[sealed.Tag])
			known[sealed.Tag] = true
		}
	}
	require.Empty(t, cache.TagOf([]byte("no package")))
	_, err := c.Seal(t.Context(), nil, &cache.Item{Key: "k", Class: classify.PHI, MediaType: string(make([]byte, format.MaxMediaType+1))})
	require.ErrorIs(t, err, format.ErrTooLarge)
}
