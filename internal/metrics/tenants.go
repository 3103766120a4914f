package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxTenants is how many tenants have a label of their own: the first ones that are seen. All others share one.
const maxTenants = 100

// tenantLabels assigns labels and counters to tenants.
type tenantLabels struct {
	hash     func(string) string
	counters *prometheus.CounterVec
	others   *tenantSeries

	mu    sync.Mutex
	known map[string]*tenantSeries
}

type tenantSeries struct {
	label             string
	succeeded, failed func() prometheus.Counter
}

func newTenants(hash func(string) string, counters *prometheus.CounterVec) *tenantLabels {
	t := &tenantLabels{hash: hash, counters: counters, known: map[string]*tenantSeries{}}
	t.others = t.newSeries(other)
	return t
}

func (t *tenantLabels) newSeries(label string) *tenantSeries {
	return &tenantSeries{label, lazyCounter(t.counters, label, "false"), lazyCounter(t.counters, label, "true")}
}

func (t *tenantLabels) of(id string) *tenantSeries {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.known[id]
	if found == nil && len(t.known) >= maxTenants {
		return t.others
	}
	if found == nil {
		found = t.newSeries(t.hash(id))
		t.known[id] = found
	}
	return found
}

// count counts an operation of the tenant.
func (t *tenantSeries) count(err error) {
	if err != nil {
		t.failed().Inc()
	} else {
		t.succeeded().Inc()
	}
}
