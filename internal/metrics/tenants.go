package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxTenants is how many tenants have a label of their own: the first that were seen. All others share one.
const MaxTenants = 100

// tenants gives tenants their labels and counters.
type tenants struct {
	hash     func(string) string
	counters *prometheus.CounterVec
	others   *tenant

	mu    sync.Mutex
	known map[string]*tenant
}

type tenant struct {
	label             string
	succeeded, failed func() prometheus.Counter
}

func newTenants(hash func(string) string, counters *prometheus.CounterVec) *tenants {
	t := &tenants{hash: hash, counters: counters, known: map[string]*tenant{}}
	t.others = t.labelled(other)
	return t
}

func (t *tenants) labelled(label string) *tenant {
	return &tenant{label, one(t.counters, label, "false"), one(t.counters, label, "true")}
}

func (t *tenants) of(id string) *tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.known[id]
	if found == nil && len(t.known) >= MaxTenants {
		return t.others
	}
	if found == nil {
		found = t.labelled(t.hash(id))
		t.known[id] = found
	}
	return found
}

// count counts an operation.
func (t *tenant) count(err error) {
	if err != nil {
		t.failed().Inc()
	} else {
		t.succeeded().Inc()
	}
}
