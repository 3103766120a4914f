package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
	"github.com/coffer-storage/coffer/server/metrics"
)

// A Redis is asked while another one hangs, for however long.
func TestRedisWatchesAskConcurrently(t *testing.T) {
	t.Parallel()
	hanging, other := redistest.Start(t), redistest.Start(t)
	patient := redis.NewClient(&redis.Options{Addr: hanging.Addr, ReadTimeout: -1})
	defer patient.Close()
	hanging.Freeze()
	defer hanging.Thaw()
	ctx, answered := context.WithCancel(t.Context())
	defer answered()
	former := rediskv.Eviction{Processes: map[string]rediskv.Process{other.Addr: {ID: "former"}}}
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
