package limit

import (
	"context"
	"math"
	"sync"
	"time"
)

// Memory limits the memory that is in use at the same time, in total and for the requests of each tenant. It is safe
// for concurrent use.
//
// Requests are refused if there is not enough memory. Background work waits for memory and uses at most half of the
// total. While it waits, new requests cannot take the memory that it waits for, so it is not starved.
type Memory struct {
	maxTotal, maxPerTenant int64

	mu         sync.Mutex
	requests   int64            // in use by requests
	byTenant   map[string]int64 // tenants with memory in use
	background int64            // in use by background work
	waiting    int64            // that background work waits for
	released   chan struct{}    // capacity 1; signals that memory was released
	waiter     chan struct{}    // capacity 1; held by the background work that waits
}

// NewMemory returns the limits in bytes, in total and per tenant; 0 means no limit.
func NewMemory(all, each int64) *Memory {
	return &Memory{maxTotal: all, maxPerTenant: each, byTenant: map[string]int64{}, released: make(chan struct{}, 1), waiter: make(chan struct{}, 1)}
}

// Reserve reserves n bytes for a tenant's request, or returns a Refusal.
func (b *Memory) Reserve(tenant string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if exceeds(b.requests+b.background+b.waiting+n, b.maxTotal) || exceeds(b.byTenant[tenant]+n, b.maxPerTenant) {
		return &Refusal{Wait: time.Second} // it is unknown when others release memory
	}
	b.requests += n
	b.byTenant[tenant] += n
	return nil
}

func exceeds(n, bound int64) bool { return bound > 0 && n > bound }

// Release releases n bytes that were reserved for a tenant's request.
func (b *Memory) Release(tenant string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests -= n
	if b.byTenant[tenant] -= n; b.byTenant[tenant] == 0 {
		delete(b.byTenant, tenant)
	}
	b.notifyReleased()
}

func (b *Memory) notifyReleased() {
	select {
	case b.released <- struct{}{}:
	default:
	}
}

// BackgroundShare returns the most bytes that background work can use.
func (b *Memory) BackgroundShare() int64 {
	if b.maxTotal <= 0 {
		return math.MaxInt64
	}
	return b.maxTotal / 2
}

// ReserveBackground reserves n bytes for background work as soon as they are available, and returns the function that
// releases them. If n is larger than BackgroundShare, BackgroundShare is reserved. It returns ctx's error if ctx ends
// first.
func (b *Memory) ReserveBackground(ctx context.Context, n int64) (release func(), err error) {
	n = min(n, b.BackgroundShare())
	select {
	case b.waiter <- struct{}{}:
		defer func() { <-b.waiter }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer b.tryReserve(0)
	for !b.tryReserve(n) {
		select {
		case <-b.released:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sync.OnceFunc(func() { b.releaseBackground(n) }), nil
}

// tryReserve reserves n bytes for background work, or remembers that background work waits for them.
func (b *Memory) tryReserve(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = min(n, max(0, b.BackgroundShare()-b.background)) // without the part that other background work must release
	if b.background+n > b.BackgroundShare() || exceeds(b.requests+b.background+n, b.maxTotal) {
		return false
	}
	b.background, b.waiting = b.background+n, 0
	return true
}

func (b *Memory) releaseBackground(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.background -= n
	b.notifyReleased()
}
