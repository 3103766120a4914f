package seal

import (
	"container/list"
	"sync"
)

// lru is a bounded map that drops what was used longest ago; safe for concurrent use. For some hundred
// entries a map, a list and a lock take a third of the time of otter's lock-free reads and bookkeeping
// (measured: 60 ns against 300, two goroutines).
type lru[K comparable, V any] struct {
	limit   int
	mu      sync.Mutex
	entries map[K]*list.Element
	order   list.List // the most recently used first
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, entries: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// add keeps a value; one that is there already stays.
func (l *lru[K, V]) add(key K, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.entries[key]; ok {
		return
	}
	l.entries[key] = l.order.PushFront(&lruEntry[K, V]{key, value})
	if l.order.Len() > l.limit {
		oldest := l.order.Remove(l.order.Back()).(*lruEntry[K, V])
		delete(l.entries, oldest.key)
	}
}
