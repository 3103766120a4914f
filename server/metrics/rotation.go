package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Rotation is how far rotations of keys are, and how old keys, of all tenants together.
type Rotation struct {
	States  map[string]int // tenants by the state of their last rotation; nil where that is not known yet
	Left    int            // entries that those under way have yet to go through
	Leading bool           // this server goes through entries now

	Keys    bool      // keysets were looked at
	Oldest  time.Time // when the oldest primary key was made; the zero time where there is none
	Overdue int       // keysets that were to get a new primary and did not
	Room    int       // rotations of all its keys for which the fullest tenant has room; -1 where there is no tenant

	Entries map[string]int // that this server went through, by what became of them
	Errors  int            // how often a rotation was held up in this server
}

// rotations gives what a function tells in the form of Prometheus. What is not known yet is left out, rather
// than told as nothing.
type rotations struct {
	states, results []string
	see             func() Rotation
}

var (
	rotationStates  = desc("rotations", "Tenants by the state of their last rotation.", "state")
	rotationLeft    = desc("rotation_entries_left", "Entries that rotations under way have yet to go through.")
	rotationLeader  = desc("rotation_leader", "1 while this server goes through entries.")
	rotationEntries = desc("rotation_entries_total", "Entries that this server went through, by what became of them.", "result")
	rotationErrors  = desc("rotation_errors_total", "How often a rotation was held up in this server; it is tried again.")
	oldestPrimary   = desc("oldest_primary_age_seconds", "Age of the oldest primary key of any tenant.")
	rotationsRoom   = desc("rotations_room", "Rotations of all its keys for which the fullest tenant has room.")
	keysetsOverdue  = desc("keysets_overdue", "Keysets that were to get a new primary key for its age or its uses, and did not.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// WatchRotations tells how far rotations are. The states and results are all that there are. The function is
// asked when the metrics are.
func (m *Metrics) WatchRotations(states, results []string, see func() Rotation) {
	m.registry.MustRegister(&rotations{states, results, see})
}

// Describe implements prometheus.Collector.
func (r *rotations) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rotationStates, rotationLeft, rotationLeader, rotationEntries, rotationErrors, oldestPrimary, keysetsOverdue, rotationsRoom} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *rotations) Collect(to chan<- prometheus.Metric) {
	now := r.see()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if now.States != nil {
		for _, state := range r.states {
			gauge(rotationStates, float64(now.States[state]), state)
		}
		gauge(rotationLeft, float64(now.Left))
	}
	leader := 0.0
	if now.Leading {
		leader = 1
	}
	gauge(rotationLeader, leader)
	if !now.Oldest.IsZero() {
		gauge(oldestPrimary, time.Since(now.Oldest).Seconds())
	}
	if now.Keys {
		gauge(keysetsOverdue, float64(now.Overdue))
	}
	if now.Keys && now.Room >= 0 {
		gauge(rotationsRoom, float64(now.Room))
	}
	for _, result := range r.results {
		to <- prometheus.MustNewConstMetric(rotationEntries, prometheus.CounterValue, float64(now.Entries[result]), result)
	}
	to <- prometheus.MustNewConstMetric(rotationErrors, prometheus.CounterValue, float64(now.Errors))
}
