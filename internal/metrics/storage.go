package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/shared/classify"
)

// storageTimeout limits the time that a scrape waits for the store.
const storageTimeout = time.Second

// Storage provides the sizes of the store and of the data directory's disk. If a function returns an error, its metric
// is omitted.
type Storage struct {
	Bytes func(ctx context.Context) (int64, error)
	Free  func() (int64, error)
}

type storageCollector struct {
	sizes   Storage
	refused *prometheus.CounterVec
}

var (
	storeBytes = newDesc("store_bytes", "Size of the keys and values of all tenants in the store. For Redis, only with a quota, and approximate.")
	storeFree  = newDesc("store_free_bytes", "Free bytes of the data directory's disk.")
)

// WatchStorage adds the metrics of the store. It returns a function that counts writes that were refused because the
// store is full, by error code.
func (m *Metrics) WatchStorage(sizes Storage, codes ...string) (refused func(code string)) {
	s := &storageCollector{sizes, counter("storage_refused_total", "Writes that were refused because the store is full, by error code.", "code")}
	for _, code := range codes { // initialized to 0, so that Prometheus sees the first refusal as an increase
		s.refused.WithLabelValues(code)
	}
	m.registry.MustRegister(s, s.refused)
	return func(code string) { s.refused.WithLabelValues(code).Inc() }
}

// Losses counts events that make a store lose entries.
type Losses struct{ evicted, flushed, restarted *prometheus.CounterVec }

// Evicted counts entries that a store evicted because its memory was full.
func (l Losses) Evicted(store string, entries int64) {
	l.evicted.WithLabelValues(store).Add(float64(entries))
}

// Flushed counts commands that emptied a database of a store.
func (l Losses) Flushed(store string, commands int64) {
	l.flushed.WithLabelValues(store).Add(float64(commands))
}

// Restarted counts a restart of a store.
func (l Losses) Restarted(store string) { l.restarted.WithLabelValues(store).Inc() }

// WatchLosses adds the counters of Losses for each store.
func (m *Metrics) WatchLosses(stores ...string) Losses {
	removed := counter("store_evicted_total", "Entries that Redis evicted because its memory was full, as seen by this server.", "store")
	flushes := counter("store_flushed_total", "Commands FLUSHALL and FLUSHDB that emptied a database of Redis, as seen by this server.", "store")
	restarts := counter("store_restarts_total", "Times that Redis was restarted or replaced, as seen by this server.", "store")
	for _, store := range stores { // initialized to 0
		removed.WithLabelValues(store)
		flushes.WithLabelValues(store)
		restarts.WithLabelValues(store)
	}
	m.registry.MustRegister(removed, flushes, restarts)
	return Losses{removed, flushes, restarts}
}

// WatchExpired returns a function that counts entries that were removed because the store kept them for too long.
func (m *Metrics) WatchExpired() (removed func(class classify.Class)) {
	expired := counter("outlived_total", "Entries that were removed because the store kept them for longer than their class allows.", "class")
	for _, class := range classify.All {
		expired.WithLabelValues(className(class))
	}
	m.registry.MustRegister(expired)
	return func(class classify.Class) { expired.WithLabelValues(className(class)).Inc() }
}

// Describe implements prometheus.Collector.
func (s *storageCollector) Describe(to chan<- *prometheus.Desc) {
	to <- storeBytes
	to <- storeFree
}

// Collect implements prometheus.Collector.
func (s *storageCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	if n, err := s.sizes.Bytes(ctx); err == nil {
		to <- prometheus.MustNewConstMetric(storeBytes, prometheus.GaugeValue, float64(n))
	}
	if n, err := s.sizes.Free(); err == nil {
		to <- prometheus.MustNewConstMetric(storeFree, prometheus.GaugeValue, float64(n))
	}
}
