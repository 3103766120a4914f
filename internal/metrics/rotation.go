package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Rotation is how far rotations of keys are, and how old keys, of all tenants together.
type RotationStats struct {
	States         map[string]int // tenants by the state of their last rotation, at the end of the last sweep; nil if there was none
	SpareRotations int            // rotations of all its keys for which the fullest tenant has room; -1 if not known
	EntriesLeft    int            // entries that the sweep under way has not visited yet
	Sweeping       bool           // this server works on a sweep
	Incomplete     bool           // the last sweep was incomplete
	CacheNotShared bool           // other servers are not in this server's cache, or their clocks are far from its own

	Checked       bool      // for keysets that are due
	OldestPrimary time.Time // when the oldest primary key was made; the zero time if there is none
	Overdue       int       // keysets that are due and could not be rotated

	Entries map[string]int // that this server went through, by what became of them
	Errors  int            // how often a rotation was held up in this server
}

// rotations gives what a function tells in the form of Prometheus. What is not known yet is left out, rather
// than told as nothing.
type rotations struct {
	states, results []string
	see             func() RotationStats
}

var (
	rotationStates  = desc("rotations", "Tenants by the state of their last rotation.", "state")
	rotationLeft    = desc("rotation_entries_left", "Entries that the sweep under way has not visited yet, as many as the last one visited.")
	rotationWorks   = desc("rotation_working", "1 while this server works on a sweep.")
	sweepIncomplete = desc("sweep_incomplete", "1 if the last sweep was incomplete: no key is destroyed because of it.")
	cacheApart      = desc("cache_not_shared", "1 while this server does not find other servers in its cache, or their clocks are far from its own: it destroys no key.")
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
func (m *Metrics) WatchRotations(states, results []string, see func() RotationStats) {
	m.registry.MustRegister(&rotations{states, results, see})
}

// Describe implements prometheus.Collector.
func (r *rotations) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rotationStates, rotationLeft, rotationWorks, sweepIncomplete, cacheApart, rotationEntries, rotationErrors, oldestPrimary, keysetsOverdue, rotationsRoom} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *rotations) Collect(to chan<- prometheus.Metric) {
	now := r.see()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	flag := func(d *prometheus.Desc, is bool) {
		value := 0.0
		if is {
			value = 1
		}
		gauge(d, value)
	}
	for _, state := range r.states {
		if now.States != nil {
			gauge(rotationStates, float64(now.States[state]), state)
		}
	}
	gauge(rotationLeft, float64(now.EntriesLeft))
	flag(rotationWorks, now.Sweeping)
	flag(sweepIncomplete, now.Incomplete)
	flag(cacheApart, now.CacheNotShared)
	if !now.OldestPrimary.IsZero() {
		gauge(oldestPrimary, time.Since(now.OldestPrimary).Seconds())
	}
	if now.Checked {
		gauge(keysetsOverdue, float64(now.Overdue))
	}
	if now.SpareRotations >= 0 {
		gauge(rotationsRoom, float64(now.SpareRotations))
	}
	for _, result := range r.results {
		to <- prometheus.MustNewConstMetric(rotationEntries, prometheus.CounterValue, float64(now.Entries[result]), result)
	}
	to <- prometheus.MustNewConstMetric(rotationErrors, prometheus.CounterValue, float64(now.Errors))
}
