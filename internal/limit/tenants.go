package limit

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Quota is the limit of each tenant.
type Quota struct {
	Rate       float64 // sustained requests per second, including charged ones; 0 means no limit
	Burst      int     // requests at once after a pause, at least 1
	Concurrent int     // concurrent requests; 0 means no limit
}

// maxTenants is the number of idle tenants that are remembered. A tenant that is forgotten has a full burst again.
const maxTenants = 10_000

// Tenants enforces a quota for each tenant. It is safe for concurrent use.
type Tenants struct {
	quota Quota
	now   func() time.Time

	mu     sync.Mutex
	active map[string]*tenant // with running requests
	idle   *simplelru.LRU[string, *tenant]
}

type tenant struct {
	bucket  *rate.Limiter
	running int
}

// NewTenants returns Tenants with one quota for all. A nil now means time.Now.
func NewTenants(quota Quota, now func() time.Time) *Tenants {
	if now == nil {
		now = time.Now
	}
	return &Tenants{quota: quota, now: now, active: map[string]*tenant{}, idle: newLRU[string, *tenant](maxTenants)}
}

// Begin counts an authenticated request of a tenant. It returns a function to call once when the request has ended, or
// a Refusal. A refused request does not count.
func (t *Tenants) Begin(id string) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.find(id)
	if one == nil {
		one = &tenant{bucket: rate.NewLimiter(t.rate(), max(1, t.quota.Burst))}
		t.idle.Add(id, one)
	}
	if t.quota.Concurrent > 0 && one.running >= t.quota.Concurrent {
		return nil, &Refusal{Wait: time.Second} // it is unknown when one ends
	}
	if wait := t.take(one.bucket); wait > 0 {
		return nil, &Refusal{Wait: wait}
	}
	if one.running++; one.running == 1 {
		t.idle.Remove(id)
		t.active[id] = one
	}
	return func() { t.end(id, one) }, nil
}

// find returns a tenant that is remembered, or nil. t.mu must be held.
func (t *Tenants) find(id string) *tenant {
	if one := t.active[id]; one != nil {
		return one
	}
	one, _ := t.idle.Get(id)
	return one
}

// Charge counts a running request as n more requests, at most a burst, because it costs as much as they do. The tenant
// may go into debt, and later requests are refused until it is paid.
func (t *Tenants) Charge(id string, n int) {
	if n <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.find(id); one != nil {
		one.bucket.ReserveN(t.now(), min(n, one.bucket.Burst()))
	}
}

func (t *Tenants) end(id string, one *tenant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.running--; one.running == 0 {
		delete(t.active, id)
		t.idle.Add(id, one)
	}
}

func (t *Tenants) rate() rate.Limit {
	if t.quota.Rate <= 0 {
		return rate.Inf
	}
	return rate.Limit(t.quota.Rate)
}

// take takes one request out of a bucket, or returns how long to wait for one.
func (t *Tenants) take(bucket *rate.Limiter) time.Duration {
	now := t.now()
	reservation := bucket.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}
