package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RotationStats describes the rotations of all tenants together.
type RotationStats struct {
	States         map[string]int // tenants by state at the end of the last sweep; nil if there was no sweep
	SpareRotations int            // rotations of all keys that still fit in the fullest tenant; -1 if unknown
	EntriesLeft    int            // entries that the running sweep has not visited yet
	Sweeping       bool           // this server is sweeping
	Incomplete     bool           // the last sweep was incomplete
	CacheNotShared bool           // other servers are not in this server's cache, or their clocks are far from its own

	Checked       bool      // the server has checked for due keysets
	OldestPrimary time.Time // when the oldest primary was made; zero if there is none
	Overdue       int       // keysets that are due and could not be rotated

	Entries map[string]int // entries that this server visited, by result
	Errors  int            // errors of rotations on this server
}

// rotationCollector exports RotationStats. It omits values that are not known yet.
type rotationCollector struct {
	states, results []string
	read            func() RotationStats
}

var (
	rotationStates  = newDesc("rotations", "Tenants by the state of their last rotation.", "state")
	rotationLeft    = newDesc("rotation_entries_left", "Entries that the running sweep has not visited yet, estimated from the last sweep.")
	rotationWorks   = newDesc("rotation_working", "1 while this server is sweeping.")
	sweepIncomplete = newDesc("sweep_incomplete", "1 if the last sweep was incomplete, so that it cannot lead to the destruction of a key.")
	cacheApart      = newDesc("cache_not_shared", "1 if this server does not find other servers in its cache, or their clocks are far from its own. It destroys no keys then.")
	rotationEntries = newDesc("rotation_entries_total", "Entries that sweeps of this server visited, by result.", "result")
	rotationErrors  = newDesc("rotation_errors_total", "Errors of rotations on this server. The work is tried again.")
	oldestPrimary   = newDesc("oldest_primary_age_seconds", "Age of the oldest primary key of all tenants.")
	rotationsRoom   = newDesc("rotations_room", "Rotations of all keys that still fit in the fullest tenant.")
	keysetsOverdue  = newDesc("keysets_overdue", "Keysets that are due for a new primary key and could not be rotated.")
)

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// WatchRotations adds the metrics of rotations. states and results are all possible label values. The function is
// called when the metrics are read.
func (m *Metrics) WatchRotations(states, results []string, read func() RotationStats) {
	m.registry.MustRegister(&rotationCollector{states, results, read})
}

// Describe implements prometheus.Collector.
func (r *rotationCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rotationStates, rotationLeft, rotationWorks, sweepIncomplete, cacheApart, rotationEntries, rotationErrors, oldestPrimary, keysetsOverdue, rotationsRoom} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *rotationCollector) Collect(to chan<- prometheus.Metric) {
	now := r.read()
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
