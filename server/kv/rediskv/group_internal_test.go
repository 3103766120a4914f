package rediskv

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
)

// counter counts round trips that read or set values, and the commands in pipelines.
type counter struct{ single, together, commands atomic.Int64 }

func (*counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if counts(cmd) {
			c.single.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if counts(cmds[0]) { // other commands set up a connection
			c.together.Add(1)
			c.commands.Add(int64(len(cmds)))
		}
		return next(ctx, cmds)
	}
}

func counts(cmd redis.Cmder) bool { return cmd.Name() == "set" || cmd.Name() == "getrange" }

// newShared returns a store over a Redis whose round trips are counted.
func newShared(t *testing.T) (*Store, *redistest.Server, *counter) {
	t.Helper()
	server, count := redistest.Start(t), new(counter)
	s := OpenOptions(redis.UniversalOptions{Addrs: []string{server.Addr}, ReadTimeout: time.Hour})
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Ping(t.Context()))
	s.client.AddHook(count)
	return s, server, count
}

func TestJoinBoundsGroups(t *testing.T) {
	t.Parallel()
	var g commandGroups
	cmd, now := redis.NewCmd(t.Context(), "ping"), time.Now()
	first, opened := g.join(cmd, 1, now.Add(3*time.Second))
	require.True(t, opened)
	for i, deadline := range []time.Time{{}, now.Add(2 * time.Second), now.Add(4 * time.Second)} {
		same, opened := g.join(cmd, 1, deadline)
		require.False(t, opened, i)
		require.Same(t, first, same)
	}
	require.Equal(t, now.Add(2*time.Second), first.deadline)
	require.Len(t, first.commands, 4)

	g.close(first)
	second, opened := g.join(cmd, maxGroupBytes-1, time.Time{})
	require.True(t, opened, "the first group is closed")
	_, opened = g.join(cmd, 1, time.Time{})
	require.False(t, opened)
	require.Zero(t, second.deadline)
	third, opened := g.join(cmd, 1, time.Time{})
	require.True(t, opened, "the second group has the most bytes that a group may have")
	g.close(second)
	for len(third.commands) < maxGroup {
		_, opened = g.join(cmd, 0, time.Time{})
		require.False(t, opened)
	}
	_, opened = g.join(cmd, 0, time.Time{})
	require.True(t, opened, "the third group is full")
}

// The commands of a group take one round trip, and each has its own reply or error.
func TestGroupTakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	s, _, count := newShared(t)
	require.NoError(t, s.client.LPush(t.Context(), "list", "x").Err())
	require.NoError(t, s.client.Set(t.Context(), "k", "v", 0).Err())
	before := count.single.Load()
	get, wrong, set := redis.NewStringCmd(t.Context(), "getrange", "k", 0, 10), redis.NewStringCmd(t.Context(), "getrange", "list", 0, 10), redis.NewStatusCmd(t.Context(), "set", "l", "w")
	g, _ := s.groups.join(get, 0, time.Time{})
	for _, cmd := range []redis.Cmder{wrong, set} {
		same, _ := s.groups.join(cmd, 0, time.Now().Add(time.Minute))
		require.Same(t, g, same)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.groups.close(g)
	s.sendGroup(ended, g) // the caller that opened the group has left
	<-g.done
	require.NoError(t, get.Err())
	require.Equal(t, "v", get.Val())
	require.ErrorIs(t, MapError("read", wrong.Err()), kv.ErrWrongType)
	require.NoError(t, set.Err())
	require.Equal(t, []int64{before, 1, 3}, []int64{count.single.Load(), count.together.Load(), count.commands.Load()})
}

// Concurrent callers share round trips, and each gets its own result.
func TestCallersShareRoundTrips(t *testing.T) {
	t.Parallel()
	s, _, count := newShared(t)
	for round := 0; count.together.Load() == 0; round++ {
		var callers sync.WaitGroup
		errs := make(chan error, 64)
		for i := range cap(errs) {
			callers.Go(func() {
				key, value := fmt.Sprint("k", i), fmt.Sprint(round, "/", i)
				err := kv.Set(t.Context(), s, key, []byte(value), time.Hour)
				if err == nil {
					var found []kv.ReadResult
					if found, err = s.Read(t.Context(), []string{key}, 100); err == nil && string(found[0].Value) != value {
						err = fmt.Errorf("%s has %s", key, found[0].Value)
					}
				}
				errs <- err
			})
		}
		callers.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
	}
	require.Greater(t, count.commands.Load(), count.together.Load())
}

// A command is sent alone if no other call is running, and if it is conditional, large, close to its deadline, or for a
// cluster.
func TestUnsuitableCommandsAreSentAlone(t *testing.T) {
	t.Parallel()
	s, _, _ := newShared(t)
	open, _ := s.groups.join(redis.NewStatusCmd(t.Context(), "set", "open", "x"), 0, time.Time{}) // a command that joined this group would wait forever
	require.NoError(t, kv.Set(t.Context(), s, "k", []byte("alone"), time.Hour))
	s.groups.running.Add(1) // simulates a concurrent call
	soon, cancel := context.WithTimeout(t.Context(), minTimeLeft-time.Millisecond)
	defer cancel()
	require.NoError(t, kv.Set(soon, s, "k", []byte("v"), time.Hour))
	require.NoError(t, kv.Set(t.Context(), s, "large", make([]byte, maxGroupBytes+1), time.Hour))
	_, err := s.Write(t.Context(), []kv.Write{{Key: "k", Value: []byte("w"), If: kv.Equals, Old: []byte("v")}})
	require.NoError(t, err)
	_, err = s.Write(t.Context(), []kv.Write{{Key: "k", Op: kv.Remove}})
	require.NoError(t, err)
	_, err = s.Read(t.Context(), []string{"k"}, maxSharedRead+1)
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, kv.Set(ended, s, "k", nil, time.Hour), context.Canceled)
	require.Len(t, open.commands, 1)

	for _, client := range []redis.UniversalClient{
		redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true}),
		redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}),
	} {
		require.False(t, New(client).sharesRoundTrips)
		require.NoError(t, client.Close())
	}
}

// While Redis is frozen, a group ends at the earliest deadline of its commands.
func TestGroupEndsAtEarliestDeadline(t *testing.T) {
	t.Parallel()
	s, server, _ := newShared(t)
	server.Freeze()
	one, two := redis.NewStatusCmd(t.Context(), "set", "k", "v"), redis.NewStringCmd(t.Context(), "getrange", "k", 0, 10)
	g, _ := s.groups.join(one, 0, time.Now().Add(time.Hour))
	_, _ = s.groups.join(two, 0, time.Now().Add(50*time.Millisecond))
	s.groups.close(g)
	s.sendGroup(t.Context(), g)
	<-g.done
	for _, cmd := range []redis.Cmder{one, two} {
		require.ErrorIs(t, MapError("write", cmd.Err()), kv.ErrUnavailable)
	}
}
