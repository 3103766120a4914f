package kvtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// Goroutines with keys of their own read what they wrote, while others use the store and a shared key.
func concurrent(t *testing.T, s kv.Store) {
	const workers, rounds = 16, 40
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs <- useStore(t.Context(), s, w, rounds) })
	}
	wg.Wait()
	for range workers {
		require.NoError(t, <-errs)
	}
}

func useStore(ctx context.Context, s kv.Store, w, rounds int) error {
	own := fmt.Sprintf("own/%d/", w)
	for i := range rounds {
		a, b, v := own+"a", own+"b", fmt.Appendf(nil, "%d of %d", i, w)
		if err := kv.Set(ctx, s, a, v, time.Hour); err != nil {
			return err
		}
		if err := kv.SetMany(ctx, s, []kv.Entry{{Key: b, Value: v}, {Key: "shared", Value: v}}); err != nil {
			return err
		}
		got, err := kv.GetMany(ctx, s, []string{a, b, "shared"})
		if err != nil {
			return err
		}
		if string(got[0]) != string(v) || string(got[1]) != string(v) {
			return fmt.Errorf("worker %d read %q and %q, not %q", w, got[0], got[1], v)
		}
		keys, _, err := s.Scan(ctx, own, "", 100_000)
		if err != nil {
			return err
		}
		if _, err = kv.CompareAndSwap(ctx, s, "shared", got[2], v); err != nil {
			return err
		}
		if existed, err := kv.DeleteMany(ctx, s, []string{a, b}); err != nil || kv.CountTrue(existed) != 2 {
			return fmt.Errorf("worker %d deleted %d of %d: %w", w, kv.CountTrue(existed), len(keys), err)
		}
	}
	return nil
}

func cancelled(t *testing.T, s kv.Store) {
	mustSet(t, s, "k", []byte("v"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range methods(s) {
		require.ErrorIs(t, call(ctx), context.Canceled, name)
		require.NotErrorIs(t, call(ctx), kv.ErrUnavailable, name)
	}
	requireValue(t, s, "k", []byte("v"))

	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for name, call := range methods(s) {
		require.ErrorIs(t, call(late), context.DeadlineExceeded, name)
	}
	requireValue(t, s, "k", []byte("v"))
	require.NoError(t, s.Ping(t.Context()))
}

func closed(t *testing.T, s kv.Store) {
	mustSet(t, s, "k", []byte("v"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time")
	for name, call := range methods(s) {
		err := call(t.Context())
		require.ErrorIs(t, err, kv.ErrClosed, name)
		requireCode(t, err, "closed")
	}
	_, err := kv.GetMany(t.Context(), s, nil)
	require.ErrorIs(t, err, kv.ErrClosed)
	require.ErrorIs(t, kv.SetMany(t.Context(), s, nil), kv.ErrClosed)
	_, err = kv.DeleteMany(t.Context(), s, nil)
	require.ErrorIs(t, err, kv.ErrClosed)
}
