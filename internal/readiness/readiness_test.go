package readiness_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

// Many concurrent requests run the checks once per reuse time. A check that does not return is not started again.
func TestChecksRunOncePerReuseTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, hung atomic.Int64
		release := make(chan struct{})
		m := readiness.New(slog.New(slog.DiscardHandler), readiness.ReuseTime,
			readiness.Check{Code: "store_unavailable", Run: func(context.Context) error { runs.Add(1); return nil }},
			readiness.Check{Code: "audit_unavailable", Run: func(context.Context) error { hung.Add(1); <-release; return nil }},
		)
		for range 3 {
			var callers sync.WaitGroup
			for range 100 {
				callers.Go(func() {
					failures := m.Failures(t.Context())
					require.Len(t, failures, 1)
					require.Equal(t, "audit_unavailable", failures[0].Code)
				})
			}
			callers.Wait()
			time.Sleep(readiness.ReuseTime)
		}
		require.EqualValues(t, 3, runs.Load())
		require.EqualValues(t, 1, hung.Load(), "the check has not returned")
		close(release)
		synctest.Wait()
		time.Sleep(readiness.ReuseTime)
		require.Empty(t, m.Failures(t.Context()))
	})
}

// A change is logged once. Watch sees it without requests.
func TestTransitionsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var broken, ending atomic.Bool
		m := readiness.New(slog.New(slog.NewTextHandler(&log, nil)), readiness.ReuseTime,
			readiness.Check{Code: "shutting_down", Instant: true, Run: func(context.Context) error {
				if ending.Load() {
					return context.Canceled
				}
				return nil
			}},
			readiness.Check{Code: "store_unavailable", Run: func(context.Context) error {
				if broken.Load() {
					return errors.New("gone")
				}
				return nil
			}},
		)
		ctx, cancel := context.WithCancel(t.Context())
		go m.Watch(ctx)
		tick := func() {
			time.Sleep(3 * readiness.WatchInterval)
			synctest.Wait()
		}
		tick()
		require.Empty(t, log.String())
		broken.Store(true)
		tick()
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=WARN")), log.String())
		require.Contains(t, log.String(), "code=store_unavailable")
		require.Len(t, m.LastFailures(), 1)
		broken.Store(false)
		tick()
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=INFO")), log.String())
		ending.Store(true)
		require.Equal(t, "shutting_down", m.LastFailures()[0].Code, "immediately")
		cancel()
		synctest.Wait()
	})
}

// forgetfulStore is a store that accepts writes and does not keep them.
type forgetfulStore struct{ kv.Store }

func (forgetfulStore) Write(_ context.Context, writes []kv.Write) ([]bool, error) {
	return make([]bool, len(writes)), nil
}

// The probe passes for a store that returns the written value. It leaves nothing that a tenant could list.
func TestStoreProbe(t *testing.T) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	run, err := readiness.StoreProbe(store)
	require.NoError(t, err)
	require.NoError(t, run(t.Context()))
	keys, _, err := store.Scan(t.Context(), "", "", 0)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	owner, collection, _, ok := kv.SplitKey(keys[0])
	require.True(t, ok)
	require.Equal(t, []string{"", "ready"}, []string{owner, collection})
	left, _, err := store.TTL(t.Context(), keys[0])
	require.NoError(t, err)
	require.Less(t, left, time.Minute+time.Millisecond) // a store rounds up
	require.Positive(t, left)

	lies, err := readiness.StoreProbe(forgetfulStore{store})
	require.NoError(t, err)
	require.Error(t, lies(t.Context()))
	require.NoError(t, store.Close())
	require.Error(t, run(t.Context()))
}
