package limit

import (
	"sync"
	"time"
)

// Bytes bounds what requests hold in memory at the same time: of all tenants together, and of each. It is safe for concurrent use.
type Bytes struct {
	all, each int64

	mu       sync.Mutex
	held     int64
	byTenant map[string]int64 // of those that hold any
}

// NewBytes makes the bounds, in bytes; 0 is any number.
func NewBytes(all, each int64) *Bytes {
	return &Bytes{all: all, each: each, byTenant: map[string]int64{}}
}

// Take takes n bytes for a tenant, or returns a Refusal.
func (b *Bytes) Take(tenant string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if over(b.held+n, b.all) || over(b.byTenant[tenant]+n, b.each) {
		return &Refusal{Wait: time.Second} // when others give theirs back is not known
	}
	b.held += n
	b.byTenant[tenant] += n
	return nil
}

func over(n, bound int64) bool { return bound > 0 && n > bound }

// Give gives bytes back that were taken for a tenant.
func (b *Bytes) Give(tenant string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.byTenant[tenant] -= n; b.byTenant[tenant] == 0 {
		delete(b.byTenant, tenant)
	}
}
