package limit_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/limit"
)

func TestReserveLimitsTotalAndTenant(t *testing.T) {
	b := limit.NewMemory(100, 60)
	require.NoError(t, b.Reserve("a", 60))
	require.ErrorIs(t, b.Reserve("a", 1), limit.ErrRateLimited)
	require.NoError(t, b.Reserve("b", 40))
	err := b.Reserve("c", 1)
	require.ErrorIs(t, err, limit.ErrRateLimited, "the total is limited")
	seconds, ok := limit.RetryAfter(err)
	require.True(t, ok)
	require.Equal(t, 1, seconds)
	b.Release("a", 60)
	require.NoError(t, b.Reserve("c", 60))
	b.Release("b", 40)
	require.NoError(t, b.Reserve("a", 40), "all memory was released")
	require.NoError(t, limit.NewMemory(0, 0).Reserve("a", 1<<62))
}

// Background work waits for memory and uses at most half of it. While it waits, requests leave it the memory that it
// waits for.
func TestBackgroundWorkWaitsForMemory(t *testing.T) {
	b := limit.NewMemory(100, 0)
	require.NoError(t, b.Reserve("a", 80))
	taken := make(chan func())
	await := func(ctx context.Context, n int64) {
		if giveBack, err := b.ReserveBackground(ctx, n); err == nil {
			taken <- giveBack
		}
	}
	go await(t.Context(), 40)
	require.Eventually(t, func() bool {
		if b.Reserve("b", 1) != nil {
			return true
		}
		b.Release("b", 1)
		return false
	}, 5*time.Minute, time.Millisecond, "while it waits nobody takes what it needs")
	b.Release("a", 30)
	require.NoError(t, b.Reserve("b", 10), "requests get the memory that it does not wait for")
	b.Release("b", 10)
	giveBack := <-taken
	require.ErrorIs(t, b.Reserve("b", 11), limit.ErrRateLimited, "the reserved memory counts")
	require.NoError(t, b.Reserve("b", 10))

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := b.ReserveBackground(ctx, 20)
		failed <- err
	}()
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	b.Release("a", 50)
	require.NoError(t, b.Reserve("a", 50), "a canceled call does not wait for memory anymore")
	b.Release("a", 50)

	go await(t.Context(), 20) // together more than half
	select {
	case <-taken:
		t.Fatal("own work has more than half")
	case <-time.After(20 * time.Millisecond):
	}
	giveBack()
	giveBack()
	(<-taken)()
	whole, err := b.ReserveBackground(t.Context(), 1<<40)
	require.NoError(t, err, "more than half counts as half")
	require.NoError(t, b.Reserve("a", 40))
	require.Error(t, b.Reserve("a", 1))
	whole()

	unbounded := limit.NewMemory(0, 0)
	for range 2 {
		_, err := unbounded.ReserveBackground(t.Context(), 1<<40)
		require.NoError(t, err)
	}
	none, err := limit.NewMemory(1, 0).ReserveBackground(t.Context(), 1)
	require.NoError(t, err)
	none()
}

// While requests take all memory that they can get, background work gets its share, and requests theirs.
func TestBackgroundWorkIsNotStarved(t *testing.T) {
	b := limit.NewMemory(1000, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var got atomic.Int64
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if b.Reserve("a", 250) == nil {
					got.Add(1)
					time.Sleep(time.Millisecond)
					b.Release("a", 250)
				}
				runtime.Gosched()
			}
		})
	}
	var own sync.WaitGroup
	for range 2 {
		own.Go(func() {
			for range 50 {
				giveBack, err := b.ReserveBackground(t.Context(), 500)
				if err != nil {
					t.Error(err)
					return
				}
				before := got.Load()
				for got.Load() == before { // requests continue
					runtime.Gosched()
				}
				giveBack()
			}
		})
	}
	own.Wait()
	cancel()
	wg.Wait()
	require.NoError(t, b.Reserve("a", 1000), "all memory was released")
}

func TestConcurrentReservations(t *testing.T) {
	b := limit.NewMemory(1000, 0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if b.Reserve("a", 100) == nil {
					b.Release("a", 100)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, b.Reserve("a", 1000))
}
