package metrics

import "sync"

// MaxTenants is how many tenants have a label of their own: the first that were seen. All others share one.
const MaxTenants = 100

// tenants gives tenants their labels.
type tenants struct {
	hash   func(string) string
	mu     sync.Mutex
	labels map[string]string
}

func (t *tenants) label(tenant string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	label, known := t.labels[tenant]
	if !known && len(t.labels) >= MaxTenants {
		return other
	}
	if !known {
		label = t.hash(tenant)
		t.labels[tenant] = label
	}
	return label
}
