package cache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/clock"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// If the time to live of an entry is removed in Redis, no call returns the entry after the maximum time of its class.
// The first call deletes it and calls the hook once.
func TestExpiredEntryIsDeleted(t *testing.T) {
	ctx, client := t.Context(), redistest.Start(t).Client(t)
	store := rediskv.New(client)
	var elapsed, deletions atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(elapsed.Load())) }
	c := cache.New(store, sealers(t)("tenant"), cache.WithClock(clock.New(now, now)), cache.WithMaxTTL(classify.PHI, time.Hour),
		cache.WithExpiryHook(func(class classify.Class) {
			require.Equal(t, classify.PHI, class)
			deletions.Add(1)
		}))
	always := func(classify.Class, format.KeyID) bool { return true }
	notFound := func(_ any, err error) error { return err }
	for name, call := range map[string]func() error{
		"get":     func() error { return notFound(c.Get(ctx, "k")) },
		"inspect": func() error { return notFound(c.Inspect(ctx, "k")) },
		"get many": func() error {
			found, err := c.GetMany(ctx, []string{"k"})
			require.NoError(t, err)
			return found[0].Err
		},
		"packages": func() error {
			found, err := c.Packages(ctx, []string{"k"}, kv.NoLimit)
			require.NoError(t, err)
			return found[0].Err
		},
		"exists": func() error {
			there, err := c.Exists(ctx, "k")
			require.NoError(t, err)
			require.False(t, there)
			return cache.ErrNotFound
		},
		"expire": func() error { return notFound(c.Expire(ctx, "k", time.Minute, cache.Condition{})) },
		"expire if": func() error {
			return asNotFound(notFound(c.Expire(ctx, "k", time.Minute, cache.Condition{Present: true})))
		},
		"remove if":      func() error { return asNotFound(c.Remove(ctx, "k", cache.Condition{Present: true})) },
		"put if present": func() error { return asNotFound(putIf(ctx, t, c, cache.Condition{Present: true})) },
		"put if absent": func() error {
			require.NoError(t, putIf(ctx, t, c, cache.Condition{Absent: true}))
			elapsed.Add(-int64(3 * time.Hour))
			_, err := c.Delete(ctx, "k")
			require.NoError(t, err)
			return cache.ErrNotFound
		},
		"reencrypt": func() error {
			did, err := c.Reencrypt(ctx, []string{"k"}, kv.NoLimit, always)
			require.NoError(t, err)
			require.NoError(t, did[0].Err)
			require.Equal(t, cache.Unchanged, did[0].Outcome)
			return cache.ErrNotFound
		},
	} {
		elapsed.Store(0)
		deletions.Store(0)
		require.NoError(t, c.SetEncrypted(ctx, "k", make([]byte, 40_000), classify.PHI))
		require.NoError(t, client.Persist(ctx, stored("k")).Err())
		_, err := c.Get(ctx, "k")
		require.NoError(t, err)
		elapsed.Store(int64(time.Hour + clock.Skew - time.Minute))
		_, err = c.Get(ctx, "k")
		require.NoError(t, err, "clocks of servers differ")
		elapsed.Store(int64(time.Hour + clock.Skew + time.Minute))
		require.ErrorIs(t, call(), cache.ErrNotFound, name)
		require.Equal(t, int64(1), deletions.Load(), name)
		n, err := client.Exists(ctx, stored("k")).Result()
		require.NoError(t, err)
		require.Zero(t, n, name)
	}
}

// putIf puts an item under k.
func putIf(ctx context.Context, t *testing.T, c *cache.Cache, condition cache.Condition) error {
	sealed, err := c.Seal(ctx, nil, &cache.Item{Key: "k", Class: classify.PHI})
	require.NoError(t, err)
	return c.Put(ctx, &sealed, condition)
}

// asNotFound returns ErrNotFound for the error of a condition that requires an entry.
func asNotFound(err error) error {
	if err == cache.ErrPrecondition {
		return cache.ErrNotFound
	}
	return err
}

// An entry with an altered date is not authentic: no call deletes it because of that date, or calls the hook.
func TestAlteredDateDeletesNothing(t *testing.T) {
	ctx, client := t.Context(), redistest.Start(t).Client(t)
	c := cache.New(rediskv.New(client), sealers(t)("tenant"), cache.WithExpiryHook(func(classify.Class) { t.Error("an entry was deleted") }))
	require.NoError(t, c.SetEncrypted(ctx, "k", []byte("v"), classify.PHI))
	pkg, err := client.Get(ctx, stored("k")).Bytes()
	require.NoError(t, err)
	h, n, err := format.ParseHeader(pkg)
	require.NoError(t, err)
	h.EncryptedAt = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC).UnixMilli()
	altered, err := h.Append(nil)
	require.NoError(t, err)
	altered = append(altered, pkg[n:]...)
	require.NoError(t, client.Set(ctx, stored("k"), altered, time.Hour).Err())
	only := func(_ any, err error) error { return err }
	for name, call := range map[string]func() error{
		"get":     func() error { return only(c.Get(ctx, "k")) },
		"inspect": func() error { return only(c.Inspect(ctx, "k")) },
		"exists":  func() error { return only(c.Exists(ctx, "k")) },
		"get many": func() error {
			found, err := c.GetMany(ctx, []string{"k"})
			require.NoError(t, err)
			return found[0].Err
		},
		"packages": func() error {
			found, err := c.Packages(ctx, []string{"k"}, kv.NoLimit)
			require.NoError(t, err)
			return found[0].Err
		},
		"expire":         func() error { return only(c.Expire(ctx, "k", time.Minute, cache.Condition{})) },
		"remove if":      func() error { return c.Remove(ctx, "k", cache.Condition{Present: true}) },
		"put if present": func() error { return putIf(ctx, t, c, cache.Condition{Present: true}) },
		"put if absent":  func() error { return putIf(ctx, t, c, cache.Condition{Absent: true}) },
		"reencrypt due":  func() error { return reencrypt(t, c, "k", all).Err },
		"reencrypt":      func() error { return reencrypt(t, c, "k", none).Err },
	} {
		require.ErrorIs(t, call(), envelope.ErrAuthentication, name)
		left, err := client.Get(ctx, stored("k")).Bytes()
		require.NoError(t, err, name)
		require.Equal(t, altered, left, name)
	}
}

// A reencrypted entry keeps its date, so that rotations do not extend its time.
func TestReencryptKeepsTheDate(t *testing.T) {
	ctx, client := t.Context(), redistest.Start(t).Client(t)
	var elapsed atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(elapsed.Load())) }
	c := cache.New(rediskv.New(client), sealers(t)("tenant"), cache.WithClock(clock.New(now, now)), cache.WithMaxTTL(classify.PHI, time.Hour))
	require.NoError(t, c.SetEncrypted(ctx, "k", []byte("v"), classify.PHI))
	require.NoError(t, client.Persist(ctx, stored("k")).Err())
	elapsed.Store(int64(59 * time.Minute))
	require.Equal(t, cache.Reencrypted, reencrypt(t, c, "k", all).Outcome)
	elapsed.Store(int64(time.Hour + clock.Skew + time.Minute))
	_, err := c.Get(ctx, "k")
	require.ErrorIs(t, err, cache.ErrNotFound)
}
