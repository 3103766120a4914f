package rediskv_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// blockingCalls are the calls of a store that wait for Redis.
var blockingCalls = map[string]func(context.Context, *rediskv.Store) error{
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

// A call on the caller's client with default options ends with its context while Redis is frozen. The client itself
// would wait for a reply for much longer.
func TestContextEndsCallsOfAnyClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Hour, WriteTimeout: time.Hour})
	t.Cleanup(func() { _ = client.Close() })
	s := rediskv.New(client)
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	for name, call := range blockingCalls {
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

// A client with ContextTimeoutEnabled ends calls at their deadline itself.
func TestDeadlineEndsCallsOfTimedClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Hour, WriteTimeout: time.Hour, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	s := rediskv.New(client)
	require.NoError(t, s.Ping(t.Context()))
	server.Freeze()
	for name, call := range blockingCalls {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		require.ErrorIs(t, call(ctx, s), context.DeadlineExceeded, name)
		cancel()
	}
}

// heldHook holds a SET until release is closed, and then sends it even if its context has ended.
type heldHook struct {
	redis.Hook
	begun, release, done chan struct{}
}

func (h heldHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "set" {
			return next(ctx, cmd)
		}
		close(h.begun)
		<-h.release
		defer close(h.done)
		return next(context.WithoutCancel(ctx), cmd)
	}
}

func (heldHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (heldHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// The caller may reuse the memory of an abandoned write: Redis still receives the original value.
func TestAbandonedWriteKeepsItsValue(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	hook := heldHook{begun: make(chan struct{}), release: make(chan struct{}), done: make(chan struct{})}
	client.AddHook(hook)
	value := []byte("value")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-hook.begun
		cancel()
	}()
	require.ErrorIs(t, kv.Set(ctx, rediskv.New(client), "k", value, time.Hour), context.Canceled)
	clear(value)
	close(hook.release)
	<-hook.done
	got, err := server.Client(t).Get(t.Context(), "k").Result()
	require.NoError(t, err)
	require.Equal(t, "value", got)
}
