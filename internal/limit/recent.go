package limit

import "container/list"

// recent is a map that holds the entries used last, up to a number of them.
type recent[K comparable, V any] struct {
	most    int
	entries map[K]*list.Element
	order   *list.List // of pair[K, V], the one used last in front
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, entries: map[K]*list.Element{}, order: list.New()}
}

// get returns what a key has, now the one used last.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	element, ok := r.entries[key]
	if !ok {
		return value, false
	}
	r.order.MoveToFront(element)
	return element.Value.(pair[K, V]).value, true
}

// add puts in a key that is not there, and where there are most already drops the one unused for longest that may be.
func (r *recent[K, V]) add(key K, value V, droppable func(V) bool) {
	if len(r.entries) >= r.most {
		r.drop(droppable)
	}
	r.entries[key] = r.order.PushFront(pair[K, V]{key, value})
}

func (r *recent[K, V]) drop(droppable func(V) bool) {
	for element := r.order.Back(); element != nil; element = element.Prev() {
		if one := element.Value.(pair[K, V]); droppable(one.value) {
			delete(r.entries, one.key)
			r.order.Remove(element)
			return
		}
	}
}
