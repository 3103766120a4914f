package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/mirror"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// start copies to a sink, and counts lost lines.
func start(t *testing.T, sink mirror.Sink) (*mirror.Mirror, *atomic.Int64) {
	t.Helper()
	lost := &atomic.Int64{}
	m := mirror.New(sink, func(n int) { lost.Add(int64(n)) }, slog.New(slog.DiscardHandler))
	t.Cleanup(m.Close)
	return m, lost
}

func TestWriterReceivesEveryLine(t *testing.T) {
	var out bytes.Buffer
	m, lost := start(t, mirror.ToWriter(&out))
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "{\"n\":%d}\n", i)
		m.Copy(fmt.Appendf(nil, "{\"n\":%d}\n", i))
	}
	m.Close()
	require.Equal(t, want.String(), out.String())
	require.Zero(t, lost.Load())
	m.Copy([]byte("late\nlater\n"))
	require.EqualValues(t, 2, lost.Load(), "lines after Close are counted as lost")
}

// sink converts a function without a context.
func sink(send func(lines [][]byte) error) mirror.Sink {
	return func(_ context.Context, lines [][]byte) error { return send(lines) }
}

// A sink that hangs delays no caller and needs bounded memory, and every line that it did not receive is counted.
func TestHangingSinkDelaysNoCaller(t *testing.T) {
	hang, taken := make(chan struct{}), 0
	m, lost := start(t, sink(func(lines [][]byte) error { <-hang; taken += len(lines); return nil }))
	line := append(bytes.Repeat([]byte{'x'}, 1023), '\n')
	const lines = 20_000
	for range lines {
		m.Copy(line)
	}
	require.Greater(t, lost.Load(), int64(lines-3*4096))
	close(hang)
	m.Close()
	require.EqualValues(t, lines, int64(taken)+lost.Load())
}

func TestFailingSinkIsCountedAndLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	var fails atomic.Bool
	fails.Store(true)
	lost, calls := 0, make(chan struct{})
	m := mirror.New(sink(func([][]byte) error {
		defer func() { calls <- struct{}{} }()
		if fails.Load() {
			return errors.New("away")
		}
		return nil
	}), func(n int) { lost += n }, slog.New(slog.NewTextHandler(&log, nil)))
	for i := range 6 {
		fails.Store(i < 3)
		m.Copy([]byte("{}\n"))
		select {
		case <-calls:
		case <-time.After(time.Minute):
			require.Fail(t, "the sink was not called")
		}
	}
	m.Close()
	require.Equal(t, 3, lost)
	require.Equal(t, 1, strings.Count(log.String(), "cannot be copied"))
	require.Equal(t, 1, strings.Count(log.String(), "copied again"))
}

func TestConcurrentCopiesAreSentOrCounted(t *testing.T) {
	var got atomic.Int64
	m, lost := start(t, sink(func(lines [][]byte) error { got.Add(int64(len(lines))); return nil }))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				m.Copy([]byte("{}\n{}\n"))
			}
		})
	}
	wg.Wait()
	m.Close()
	require.EqualValues(t, 8*500*2, got.Load()+lost.Load())
}

// While Redis is stopped, lines are lost and counted. The other lines are in the stream in order.
func TestRedisStreamContinuesAfterRestart(t *testing.T) {
	server := redistest.Start(t)
	store, err := rediskv.Open(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	m, lost := start(t, mirror.ToRedis(store))
	client := server.Client(t)
	length := func() int64 { return client.XLen(context.Background(), mirror.StreamKey).Val() }
	for i := range 1000 {
		m.Copy(fmt.Appendf(nil, "{\"n\":%d}\n", i))
	}
	require.Eventually(t, func() bool { return length() == 1000 }, time.Minute, time.Millisecond)
	all, err := client.XRange(t.Context(), mirror.StreamKey, "-", "+").Result()
	require.NoError(t, err)
	for i, one := range all {
		require.Equal(t, map[string]any{"line": fmt.Sprintf("{\"n\":%d}", i)}, one.Values)
	}

	server.Stop()
	m.Copy([]byte("{\"n\":1000}\n"))
	require.Eventually(t, func() bool { return lost.Load() == 1 }, time.Minute, time.Millisecond)
	server.Restart()
	require.Eventually(t, func() bool {
		m.Copy([]byte("{\"n\":1001}\n"))
		time.Sleep(10 * time.Millisecond)
		return length() > 0
	}, time.Minute, 10*time.Millisecond)
}
