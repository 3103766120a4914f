package keyring

import (
	"sync"
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/format"
)

// counter counts what a key sealed.
type counter struct {
	ring   *Keyring
	tenant string
	key    format.KeyID
	n      atomic.Uint64
}

func (t *Tenant) counter(id format.KeyID) *counter {
	return &counter{ring: t.ring, tenant: t.id, key: id}
}

// count counts one package. The first one after a report puts the counter into the next report, which
// therefore costs nothing for keys that seal nothing.
func (c *counter) count() {
	if c.n.Add(1) == 1 {
		c.ring.sealing.mu.Lock()
		defer c.ring.sealing.mu.Unlock()
		c.ring.sealing.counters = append(c.ring.sealing.counters, c)
	}
}

// sealing is the counters that are not zero.
type sealing struct {
	mu       sync.Mutex
	counters []*counter
}

// Sealed calls add with the number of packages that keys of tenants sealed in this process since the last call, without keys that
// sealed nothing. It may call add for a key more than once.
func (r *Keyring) DrainSealCounts(add func(tenant string, id format.KeyID, n uint64)) {
	r.sealing.mu.Lock()
	counters := r.sealing.counters
	r.sealing.counters = nil
	r.sealing.mu.Unlock()
	for _, c := range counters {
		add(c.tenant, c.key, c.n.Swap(0))
	}
}
