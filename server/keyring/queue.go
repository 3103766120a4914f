package keyring

import (
	"container/heap"
	"sync"
	"time"
)

// queue is a set of tenants in order of a time. It is safe for concurrent use.
type queue struct {
	mu    sync.Mutex
	order timedTenants
	of    map[*Tenant]*timedTenant
	added chan struct{} // holds an element after a tenant was added
}

type timedTenant struct {
	tenant *Tenant
	at     time.Time
	index  int
}

func newQueue() *queue {
	return &queue{of: map[*Tenant]*timedTenant{}, added: make(chan struct{}, 1)}
}

// set adds a tenant, or moves it to another time.
func (q *queue) set(t *Tenant, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if one := q.of[t]; one != nil {
		one.at = at
		heap.Fix(&q.order, one.index)
		return
	}
	one := &timedTenant{tenant: t, at: at}
	q.of[t] = one
	heap.Push(&q.order, one)
	select {
	case q.added <- struct{}{}:
	default:
	}
}

func (q *queue) remove(t *Tenant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if one := q.of[t]; one != nil {
		heap.Remove(&q.order, one.index)
		delete(q.of, t)
	}
}

// due returns the first tenant if its time has come, else nil.
func (q *queue) due(now time.Time) *Tenant {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 || q.order[0].at.After(now) {
		return nil
	}
	return q.order[0].tenant
}

// take removes and returns the first tenant, nil if the queue is empty.
func (q *queue) take() *Tenant {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil
	}
	one := heap.Pop(&q.order).(*timedTenant)
	delete(q.of, one.tenant)
	return one.tenant
}

// first returns the first tenant, nil if the queue is empty.
func (q *queue) first() *Tenant {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil
	}
	return q.order[0].tenant
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order)
}

func (q *queue) all() []*Tenant {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*Tenant, len(q.order))
	for i, one := range q.order {
		all[i] = one.tenant
	}
	return all
}

// timedTenants is a heap.Interface.
type timedTenants []*timedTenant

func (h timedTenants) Len() int           { return len(h) }
func (h timedTenants) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timedTenants) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timedTenants) Push(x any) {
	one := x.(*timedTenant)
	one.index = len(*h)
	*h = append(*h, one)
}

// Pop implements heap.Interface.
func (h *timedTenants) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return one
}
