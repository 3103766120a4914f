package rediskv_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

func open(t *testing.T, url string) *rediskv.Store {
	t.Helper()
	s, err := rediskv.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	kvtest.Run(t, func(t *testing.T) kv.Store {
		require.NoError(t, admin.FlushAll(context.Background()).Err())
		return open(t, server.URL())
	})
}

func TestConformanceWithCallersClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	kvtest.Run(t, func(t *testing.T) kv.Store {
		require.NoError(t, client.FlushAll(context.Background()).Err())
		return rediskv.New(client)
	})
}

func TestConformanceWithCluster(t *testing.T) {
	t.Parallel()
	client := redistest.StartCluster(t, 3)
	kvtest.Run(t, func(t *testing.T) kv.Store {
		require.NoError(t, client.ForEachMaster(context.Background(), func(ctx context.Context, c *redis.Client) error {
			return c.FlushAll(ctx).Err()
		}))
		return rediskv.New(client)
	})
}

// A Ring is the client-side sharding of go-redis.
func TestConformanceWithRing(t *testing.T) {
	t.Parallel()
	one, two := redistest.Start(t), redistest.Start(t)
	ring := redis.NewRing(&redis.RingOptions{
		Addrs: map[string]string{"one": one.Addr, "two": two.Addr}, ReadTimeout: redistest.ClientTimeout, WriteTimeout: redistest.ClientTimeout,
	})
	t.Cleanup(func() { _ = ring.Close() })
	kvtest.Run(t, func(t *testing.T) kv.Store {
		require.NoError(t, ring.ForEachShard(context.Background(), func(ctx context.Context, c *redis.Client) error {
			return c.FlushAll(ctx).Err()
		}))
		return rediskv.New(ring)
	})
}

func TestCloseLeavesCallersClientOpen(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := rediskv.New(client)
	require.NoError(t, s.Close())
	require.NoError(t, client.Ping(t.Context()).Err())

	s = rediskv.New(client)
	require.NoError(t, client.Close())
	require.ErrorIs(t, s.Ping(t.Context()), kv.ErrClosed)
}

func TestOpenOptionsSelectsDatabase(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.SetPassword("pass word")
	s := rediskv.OpenOptions(redis.UniversalOptions{Addrs: []string{server.Addr}, Password: "pass word", DB: 3})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("v"), time.Hour))

	got, ok, err := kv.Get(t.Context(), open(t, "redis://:pass%20word@"+server.Addr+"/3"), "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", string(got))
	_, ok, err = kv.Get(t.Context(), open(t, "redis://:pass%20word@"+server.Addr), "k")
	require.NoError(t, err)
	require.False(t, ok, "another database")
}

func TestOpenRefusesBadURLWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for url, sentence := range map[string]string{
		"redis://:hunter2@host:port":            "cannot be parsed",
		"redis://:hunter2%zz@host":              "cannot be parsed",
		"redis://:hun\x7fter2@host":             "cannot be parsed",
		"http://:hunter2@host":                  "must begin with redis://",
		"hunter2:6379":                          "must begin with redis://",
		"127.0.0.1":                             "must begin with redis://",
		"":                                      "must begin with redis://",
		"redis://:hunter2@host/hunter2":         "path or query",
		"redis://:hunter2@host/0?hunter2=1":     "path or query",
		"redis://host/0?read_timeout=hunter2":   "path or query",
		"unix:///socket?db=hunter2":             "path or query",
		"redis://:hunter2@host/0/1/2/3/hunter2": "path or query",
	} {
		s, err := rediskv.Open(url)
		require.ErrorContains(t, err, sentence, url)
		require.Nil(t, s)
		require.NotContains(t, err.Error(), "hun")
	}
}
