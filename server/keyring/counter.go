package keyring

import (
	"sync"
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/format"
)

// counter counts the packages that a key sealed.
type counter struct {
	ring   *Keyring
	tenant string
	key    format.KeyID
	n      atomic.Uint64
}

func (t *Tenant) counter(id format.KeyID) *counter {
	return &counter{ring: t.ring, tenant: t.id, key: id}
}

// count counts one package. The first package after a drain adds the counter to the next one, so that keys that seal
// nothing cost nothing.
func (c *counter) count() {
	if c.n.Add(1) == 1 {
		c.ring.sealCounts.mu.Lock()
		defer c.ring.sealCounts.mu.Unlock()
		c.ring.sealCounts.counters = append(c.ring.sealCounts.counters, c)
	}
}

// sealCounts has the counters that are not zero.
type sealCounts struct {
	mu       sync.Mutex
	counters []*counter
}

// DrainSealCounts calls add with the number of packages that each key sealed in this process since the last call. It
// leaves out keys that sealed nothing, and may call add for a key more than once. Only Coffer's own service needs it,
// for rotation by use.
func (r *Keyring) DrainSealCounts(add func(tenant string, id format.KeyID, n uint64)) {
	r.sealCounts.mu.Lock()
	counters := r.sealCounts.counters
	r.sealCounts.counters = nil
	r.sealCounts.mu.Unlock()
	for _, c := range counters {
		add(c.tenant, c.key, c.n.Swap(0))
	}
}
