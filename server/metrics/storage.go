package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/shared/classify"
)

// storageTimeout bounds what the store takes to answer a scrape.
const storageTimeout = time.Second

// Storage has the sizes of the store and of the data directory's disk. If a function returns an error,
// its metric is left out.
type Storage struct {
	Bytes func(ctx context.Context) (int64, error)
	Free  func() (int64, error)
}

type storage struct {
	seen    Storage
	refused *prometheus.CounterVec
}

var (
	storeBytes = desc("store_bytes", "Bytes of the keys and values of all tenants in the store; in Redis with a quota only, and approximate.")
	storeFree  = desc("store_free_bytes", "Free bytes of the data directory's disk.")
)

// WatchStorage registers the metrics of the store. It returns a function that counts writes that were refused for a lack of
// room, by the code of the error.
func (m *Metrics) WatchStorage(seen Storage, codes ...string) (refused func(code string)) {
	s := &storage{seen, counter("storage_refused_total", "Writes that were refused for a lack of room, by the code of the error.", "code")}
	for _, code := range codes { // there before the first
		s.refused.WithLabelValues(code)
	}
	m.registry.MustRegister(s, s.refused)
	return func(code string) { s.refused.WithLabelValues(code).Inc() }
}

// WatchLosses returns functions that count the entries that a store removed because its memory was full, and its restarts.
func (m *Metrics) WatchLosses(stores ...string) (evicted func(store string, entries int64), restarted func(store string)) {
	removed := counter("store_evicted_total", "Entries that a Redis removed because its memory was full, as this server saw.", "store")
	restarts := counter("store_restarts_total", "Times that a Redis was restarted or replaced, as this server saw.", "store")
	for _, store := range stores { // there before the first
		removed.WithLabelValues(store)
		restarts.WithLabelValues(store)
	}
	m.registry.MustRegister(removed, restarts)
	return func(store string, entries int64) { removed.WithLabelValues(store).Add(float64(entries)) }, func(store string) { restarts.WithLabelValues(store).Inc() }
}

// WatchOutlived returns a function that counts entries that were removed since the store kept them for too long.
func (m *Metrics) WatchOutlived() (removed func(class classify.Class)) {
	outlived := counter("outlived_total", "Entries that the store kept for longer than their class allows. They were removed.", "class")
	for _, class := range classify.All {
		outlived.WithLabelValues(className(class))
	}
	m.registry.MustRegister(outlived)
	return func(class classify.Class) { outlived.WithLabelValues(className(class)).Inc() }
}

// Describe implements prometheus.Collector.
func (s *storage) Describe(to chan<- *prometheus.Desc) {
	to <- storeBytes
	to <- storeFree
}

// Collect implements prometheus.Collector.
func (s *storage) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	if n, err := s.seen.Bytes(ctx); err == nil {
		to <- prometheus.MustNewConstMetric(storeBytes, prometheus.GaugeValue, float64(n))
	}
	if n, err := s.seen.Free(); err == nil {
		to <- prometheus.MustNewConstMetric(storeFree, prometheus.GaugeValue, float64(n))
	}
}
