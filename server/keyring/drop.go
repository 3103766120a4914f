package keyring

import "sync"

// dropHooks are called when keys are dropped. The zero dropHooks is empty.
type dropHooks struct {
	mu    sync.Mutex
	next  int
	hooks map[int]func()
}

// OnDrop has f called whenever keys of the tenant are dropped from memory, because their time is over, or they
// were destroyed or shredded. So whatever was derived from them can be dropped as well. f must not use the
// tenant. The returned function ends that.
func (t *Tenant) OnDrop(f func()) (stop func()) {
	h := &t.drops
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hooks == nil {
		h.hooks = map[int]func(){}
	}
	h.next++
	n := h.next
	h.hooks[n] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.hooks, n)
	}
}

func (h *dropHooks) call() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.hooks {
		f()
	}
}
