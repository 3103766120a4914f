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

func TestBytes(t *testing.T) {
	b := limit.NewMemory(100, 60)
	require.NoError(t, b.Reserve("a", 60))
	require.ErrorIs(t, b.Reserve("a", 1), limit.ErrRateLimited)
	require.NoError(t, b.Reserve("b", 40))
	err := b.Reserve("c", 1)
	require.ErrorIs(t, err, limit.ErrRateLimited, "all together hold what they may")
	seconds, ok := limit.RetryAfter(err)
	require.True(t, ok)
	require.Equal(t, 1, seconds)
	b.Release("a", 60)
	require.NoError(t, b.Reserve("c", 60))
	b.Release("b", 40)
	require.NoError(t, b.Reserve("a", 40), "nothing is left of what was given back")
	require.NoError(t, limit.NewMemory(0, 0).Reserve("a", 1<<62))
}

// Own work waits until there is room, takes no more than half, and requests leave it room meanwhile.
func TestOwnWork(t *testing.T) {
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
	require.NoError(t, b.Reserve("b", 10), "what it does not need is there")
	b.Release("b", 10)
	giveBack := <-taken
	require.ErrorIs(t, b.Reserve("b", 11), limit.ErrRateLimited, "what it has counts")
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
	require.NoError(t, b.Reserve("a", 50), "who gave up awaits nothing")
	b.Release("a", 50)

	go await(t.Context(), 20) // more than half together
	select {
	case <-taken:
		t.Fatal("own work has more than half")
	case <-time.After(20 * time.Millisecond):
	}
	giveBack()
	giveBack()
	(<-taken)()
	whole, err := b.ReserveBackground(t.Context(), 1<<40)
	require.NoError(t, err, "half is as much as it ever needs")
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

// Among requests that take all that they get own work gets its turn, and they theirs.
func TestOwnWorkAmongRequests(t *testing.T) {
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
				for got.Load() == before { // requests go on
					runtime.Gosched()
				}
				giveBack()
			}
		})
	}
	own.Wait()
	cancel()
	wg.Wait()
	require.NoError(t, b.Reserve("a", 1000), "nothing is left of it")
}

func TestBytesTogether(t *testing.T) {
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
