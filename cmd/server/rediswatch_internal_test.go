package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// One Redis may hang.
func TestRedisWatchesAskConcurrently(t *testing.T) {
	t.Parallel()
	hanging, other := redistest.Start(t), redistest.Start(t)
	patient := redis.NewClient(&redis.Options{Addr: hanging.Addr, ReadTimeout: -1})
	defer patient.Close()
	hanging.Freeze()
	defer hanging.Thaw()
	ctx, answered := context.WithCancel(t.Context())
	defer answered()
	former := rediskv.Eviction{Processes: map[string]rediskv.ProcessStats{other.Addr: {ID: "former"}}}
	all := redisWatches{
		{redis: rediskv.New(patient)},
		{redis: rediskv.New(other.Client(t)), state: former, losses: metrics.New(nil, nil).WatchLosses(""), log: slog.New(slog.NewTextHandler(writing(answered), nil))},
	}
	require.NoError(t, all.check(ctx))
}

// writing is called when something is written.
type writing func()

func (w writing) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

func TestFlushesAreCountedOnlyIfTheEarlierCountIsKnown(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := redisWatch{losses: metrics.New(nil, nil).WatchLosses(""), log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, one := range []struct {
		flushes int64
		reports int
	}{{5, 0}, {-1, 0}, {5, 0}, {6, 1}, {0, 1}} {
		w.recordChanges(rediskv.Eviction{Processes: map[string]rediskv.ProcessStats{"a": {ID: "x", Flushes: one.flushes}}})
		require.Equal(t, one.reports, strings.Count(log.String(), "was emptied"), one.flushes)
	}
	w.recordChanges(rediskv.Eviction{Processes: map[string]rediskv.ProcessStats{"a": {ID: "y", Flushes: -1}}})
	require.Equal(t, 1, strings.Count(log.String(), "was emptied"))
}

// loser loses the replies to pipelines.
type loser struct{}

func (loser) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (loser) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (loser) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			cmd.SetErr(io.ErrUnexpectedEOF)
		}
		return io.ErrUnexpectedEOF
	}
}

// The reply of a replica does not count as a refusal either.
func TestRedisWatchDoesNotTakeALostReplyForARefusedInfo(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	lost := master.Client(t)
	lost.AddHook(loser{})
	for _, client := range []*redis.Client{lost, redistest.StartReplica(t, master).Client(t)} {
		var log bytes.Buffer
		w := redisWatch{redis: rediskv.New(client), log: slog.New(slog.NewTextHandler(&log, nil))}
		require.NoError(t, w.check(t.Context()))
		require.Empty(t, log.String())
	}
}
