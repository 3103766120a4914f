package rediskv

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// withoutStats loses the replies to INFO commandstats.
type withoutStats struct{}

func lostStats(cmd redis.Cmder) bool { return slices.Contains(cmd.Args(), any("commandstats")) }

func (withoutStats) DialHook(next redis.DialHook) redis.DialHook { return next }

func (withoutStats) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if lostStats(cmd) {
			return io.ErrUnexpectedEOF
		}
		return next(ctx, cmd)
	}
}

func (withoutStats) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if lostStats(cmd) {
				cmd.SetErr(io.ErrUnexpectedEOF)
				err = cmd.Err()
			}
		}
		return err
	}
}

// A lost reply must not count as a Redis that was never flushed: the next reply would then look like a new flush.
func TestLostStatsAreUnknown(t *testing.T) {
	t.Parallel()
	s, _, _ := newShared(t)
	require.NoError(t, s.client.FlushAll(t.Context()).Err())
	found, err := s.Eviction(t.Context())
	require.NoError(t, err)
	for _, one := range found.Processes {
		require.EqualValues(t, 1, one.Flushes)
	}
	s.client.AddHook(withoutStats{})
	found, err = s.Eviction(t.Context())
	for _, one := range found.Processes {
		require.NotZero(t, one.Flushes)
	}
	require.Error(t, err)
}
