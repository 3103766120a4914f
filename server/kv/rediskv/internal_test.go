package rediskv

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

func TestRoundUpToMillis(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]time.Duration{
		0:                        0,
		1:                        time.Millisecond,
		time.Millisecond:         time.Millisecond,
		1500 * time.Microsecond:  2 * time.Millisecond,
		time.Hour:                time.Hour,
		time.Hour + 1:            time.Hour + time.Millisecond,
		math.MaxInt64:            math.MaxInt64,
		100*365*24*time.Hour + 1: 100*365*24*time.Hour + time.Millisecond,
		math.MaxInt64 - 1:        math.MaxInt64 - 1,
	} {
		require.Equal(t, want, roundUpToMillis(ttl))
	}
}

// emptyReplies answers every command of a pipeline with an empty string whose bytes are nil, as a client-side cache may
// do.
type emptyReplies struct{}

func (emptyReplies) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (emptyReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (emptyReplies) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			cmd.(*redis.StringCmd).SetVal("")
		}
		return nil
	}
}

func TestGetManyDistinguishesEmptyFromMissing(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(emptyReplies{})
	got, err := kv.GetMany(t.Context(), New(client), []string{"k", "l"})
	require.NoError(t, err)
	require.Equal(t, [][]byte{{}, {}}, got)
}
