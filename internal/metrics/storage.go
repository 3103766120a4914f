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

// Losses counts what makes a store lose entries.
type Losses struct{ evicted, flushed, restarted *prometheus.CounterVec }

// Evicted counts entries that a store removed because its memory was full.
func (l Losses) Evicted(store string, entries int64) {
	l.evicted.WithLabelValues(store).Add(float64(entries))
}

// Flushed counts commands that emptied a database of a store.
func (l Losses) Flushed(store string, commands int64) {
	l.flushed.WithLabelValues(store).Add(float64(commands))
}

// Restarted counts a restart of a store.
func (l Losses) Restarted(store string) { l.restarted.WithLabelValues(store).Inc() }

// WatchLosses registers what makes stores lose entries.
func (m *Metrics) WatchLosses(stores ...string) Losses {
	removed := counter("store_evicted_total", "Entries that a Redis removed because its memory was full, as this server saw.", "store")
	flushes := counter("store_flushed_total", "Commands FLUSHALL and FLUSHDB that emptied a database of a Redis, as this server saw.", "store")
	restarts := counter("store_restarts_total", "Times that a Redis was restarted or replaced, as this server saw.", "store")
	for _, store := range stores { // there before the first
		removed.WithLabelValues(store)
		flushes.WithLabelValues(store)
		restarts.WithLabelValues(store)
	}
	m.registry.MustRegister(removed, flushes, restarts)
	return Losses{removed, flushes, restarts}
}

// WatchOutlived returns a function that counts entries that were removed since the store kept them for too long.
func (m *Metrics) WatchExpired() (removed func(class classify.Class)) {
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
