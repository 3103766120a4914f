package rediskv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
)

// Redis executes a command, and the connection breaks before the reply arrives. The caller still learns the outcome.
func TestLostRepliesAreResolved(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	s, direct, ctx := open(t, proxy.URL()), open(t, server.URL()), t.Context()
	swap := kv.Swap{Old: []byte("old"), Value: []byte("new")}
	for _, op := range []struct {
		name, command, there, after string
		do                          func(key string) (bool, error)
	}{
		{"set if absent", "set", "", "new", func(key string) (bool, error) { return kv.SetIf(ctx, s, key, nil, []byte("new"), time.Hour) }},
		{"set if equal", "evalsha", "old", "new", func(key string) (bool, error) { return kv.SetIf(ctx, s, key, []byte("old"), []byte("new"), time.Hour) }},
		{"swap", "evalsha", "old", "new", func(key string) (bool, error) { return kv.CompareAndSwap(ctx, s, key, []byte("old"), []byte("new")) }},
		{"delete", "del", "old", "", func(key string) (bool, error) { return kv.Delete(ctx, s, key) }},
		{"delete if equal", "evalsha", "old", "", func(key string) (bool, error) { return kv.DeleteIf(ctx, s, key, []byte("old")) }},
		{"expire if equal", "evalsha", "old", "old", func(key string) (bool, error) { return kv.ExpireIf(ctx, s, key, []byte("old"), time.Hour) }},
		{"swap many", "evalsha", "old", "new", func(key string) (bool, error) {
			other := swap
			swap.Key, other.Key = key, key+" other"
			if err := kv.Set(ctx, direct, other.Key, []byte("old"), 0); err != nil {
				return false, err
			}
			made, err := kv.SwapMany(ctx, s, []kv.Swap{swap, other})
			return err == nil && made[0] && made[1], err
		}},
		{"delete many", "del", "old", "", func(key string) (bool, error) {
			existed, err := kv.DeleteMany(ctx, s, []string{key})
			return err == nil && existed[0], err
		}},
		{"set", "set", "old", "new", func(key string) (bool, error) { return true, kv.Set(ctx, s, key, []byte("new"), 0) }},
	} {
		t.Run(op.name, func(t *testing.T) {
			key := op.name
			put := func(key, value string) {
				require.NoError(t, kv.Set(ctx, direct, key, []byte(value), time.Minute))
			}
			put(key+" before", "old")
			if op.there != "" {
				put(key, op.there)
				put(key+" before", op.there)
			}
			_, err := op.do(key + " before") // loads the script, so that the next call takes one round trip
			require.NoError(t, err)
			for _, losses := range []int{1, 2} {
				if op.there == "" {
					_, err = kv.Delete(ctx, direct, key)
					require.NoError(t, err)
				} else {
					put(key, op.there)
				}
				if losses == 2 && (op.name == "set" || op.name == "expire if equal") {
					break // kv makes these again after each loss, so two losses use up its attempts
				}
				proxy.LoseReplies(op.command, losses)
				done, err := op.do(key)
				require.NotZero(t, proxy.TakeLost())
				require.NoError(t, err)
				require.True(t, done)
				value, _, err := kv.Get(ctx, direct, key)
				require.NoError(t, err)
				require.Equal(t, op.after, string(value))
			}
		})
	}
}

// A refused write is not made again, and is not confused with a lost reply.
func TestRefusalIsNotLostReply(t *testing.T) {
	t.Parallel()
	ctx, server := t.Context(), redistest.Start(t)
	require.NoError(t, server.Client(t).ReplicaOf(ctx, "127.0.0.1", "1").Err())
	s := open(t, server.URL())
	_, err := kv.Delete(ctx, s, "missing")
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.NotErrorIs(t, err, kv.ErrLostReply)
	server.Stop()
	require.Eventually(t, func() bool {
		_, err = kv.DeleteIf(ctx, s, "missing", nil) // fails once if the connection broke in the meantime
		require.ErrorIs(t, err, kv.ErrUnavailable)
		return !errors.Is(err, kv.ErrLostReply)
	}, time.Minute, time.Millisecond)
}
