package rediskv_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
)

// calls is every call of a store that waits for Redis.
var calls = map[string]func(context.Context, *rediskv.Store) error{
	"Read": func(ctx context.Context, s *rediskv.Store) error {
		_, err := s.Read(ctx, []string{"k"}, 100)
		return err
	},
	"ReadMany": func(ctx context.Context, s *rediskv.Store) error {
		_, err := s.Read(ctx, []string{"k", "l"}, 1<<30)
		return err
	},
	"Write": func(ctx context.Context, s *rediskv.Store) error { return kv.Set(ctx, s, "k", []byte("v"), time.Hour) },
	"WriteMany": func(ctx context.Context, s *rediskv.Store) error {
		return kv.SetMany(ctx, s, []kv.Entry{{Key: "k"}, {Key: "l"}})
	},
	"TTL":      func(ctx context.Context, s *rediskv.Store) error { _, _, err := s.TTL(ctx, "k"); return err },
	"Ping":     func(ctx context.Context, s *rediskv.Store) error { return s.Ping(ctx) },
	"Scan":     func(ctx context.Context, s *rediskv.Store) error { _, _, err := s.Scan(ctx, "", "", 10); return err },
	"Topology": func(ctx context.Context, s *rediskv.Store) error { _, err := s.Topology(ctx); return err },
	"SweepPage": func(ctx context.Context, s *rediskv.Store) error {
		_, _, err := s.SweepPage(ctx, "redis", "", "", 10)
		return err
	},
}

// A call over the caller's own client, with the client's default options, ends with its context while Redis is frozen.
// The client would wait for a reply for much longer than the test.
func TestContextEndsCallsOfAnyClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Hour, WriteTimeout: time.Hour})
	t.Cleanup(func() { _ = client.Close() })
	s := rediskv.New(client)
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, call(ctx, s), context.DeadlineExceeded)
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			require.ErrorIs(t, call(ctx, s), context.Canceled)
			require.ErrorIs(t, call(ctx, s), context.Canceled, "ended before it began")
		})
	}
}

// The caller may reuse the memory of a write that was abandoned: what Redis gets later is what was written.
func TestAbandonedWriteKeepsItsValue(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := rediskv.New(client)
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	value := bytes.Repeat([]byte("v"), 4<<20) // more than a socket's buffers hold
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, kv.Set(ctx, s, "k", value, time.Hour), context.DeadlineExceeded)
	clear(value)
	server.Thaw()
	require.Eventually(t, func() bool { return client.Exists(t.Context(), "k").Val() == 1 }, time.Minute, 10*time.Millisecond)
	got, err := client.Get(t.Context(), "k").Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(bytes.Repeat([]byte("v"), 4<<20), got))
}
