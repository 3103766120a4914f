package limit

import (
	"context"
	"math"
	"sync"
	"time"
)

// Bytes bounds what is held in memory at the same time: by all requests and the server's own work together,
// and by the requests of each tenant. It is safe for concurrent use.
//
// Requests are refused if there is no room, and own work waits for it. Neither starves: while own work waits,
// requests get only what leaves it room once others have given theirs back, and own work never holds more
// than half of all.
type Memory struct {
	all, each int64

	mu       sync.Mutex
	held     int64            // by requests
	byTenant map[string]int64 // of those that hold any
	own      int64            // held by own work
	awaited  int64            // by own work
	given    chan struct{}    // has room for one: something was given back
	turn     chan struct{}    // has room for the one who waits
}

// NewBytes makes the bounds, in bytes, for all together and for each tenant; 0 is any number.
func NewMemory(all, each int64) *Memory {
	return &Memory{all: all, each: each, byTenant: map[string]int64{}, given: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// Take takes n bytes for a tenant, or returns a Refusal.
func (b *Memory) Reserve(tenant string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if over(b.held+b.own+b.awaited+n, b.all) || over(b.byTenant[tenant]+n, b.each) {
		return &Refusal{Wait: time.Second} // when others give theirs back is not known
	}
	b.held += n
	b.byTenant[tenant] += n
	return nil
}

func over(n, bound int64) bool { return bound > 0 && n > bound }

// Give gives bytes back that were taken for a tenant.
func (b *Memory) Release(tenant string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.byTenant[tenant] -= n; b.byTenant[tenant] == 0 {
		delete(b.byTenant, tenant)
	}
	b.tell()
}

func (b *Memory) tell() {
	select {
	case b.given <- struct{}{}:
	default:
	}
}

// Share is the most bytes that own work holds.
func (b *Memory) BackgroundShare() int64 {
	if b.all <= 0 {
		return math.MaxInt64
	}
	return b.all / 2
}

// Await takes n bytes for own work as soon as there is room, and returns the function that gives them back.
// More than Share counts as Share. It returns ctx's error if that ends first.
func (b *Memory) ReserveBackground(ctx context.Context, n int64) (giveBack func(), err error) {
	n = min(n, b.BackgroundShare())
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer b.await(0)
	for !b.await(n) {
		select {
		case <-b.given:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sync.OnceFunc(func() { b.giveOwn(n) }), nil
}

// await takes n bytes, or notes that they are awaited.
func (b *Memory) await(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.awaited = min(n, max(0, b.BackgroundShare()-b.own)) // what other own work has to give back, requests need not
	if b.own+n > b.BackgroundShare() || over(b.held+b.own+n, b.all) {
		return false
	}
	b.own, b.awaited = b.own+n, 0
	return true
}

func (b *Memory) giveOwn(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own -= n
	b.tell()
}
