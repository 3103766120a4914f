package metrics

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/server/kms"
)

// WatchKMS returns a KEK that counts and times the calls of kek.
func (m *Metrics) WatchKMS(kek kms.KEK) kms.KEK { return watchedKEK{kek, m} }

type watchedKEK struct {
	kms.KEK
	metrics *Metrics
}

// Wrap implements kms.KEK.
func (w watchedKEK) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	begin := time.Now()
	wrapped, err := w.KEK.Wrap(ctx, key, additionalData)
	w.metrics.countKMSCall("wrap", err, time.Since(begin))
	return wrapped, err
}

// Unwrap implements kms.KEK.
func (w watchedKEK) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	begin := time.Now()
	key, err := w.KEK.Unwrap(ctx, wrapped, additionalData)
	w.metrics.countKMSCall("unwrap", err, time.Since(begin))
	return key, err
}

// RenewCredentials renews the credentials of the wrapped KEK; see kms.RenewCredentials.
func (w watchedKEK) RenewCredentials(ctx context.Context, log *slog.Logger) {
	kms.RenewCredentials(ctx, log, w.KEK)
}

// Keys provides the statistics of a keyring.
type Keys interface {
	KEKHealth() (since time.Time, err error)      // since when calls of the KMS fail, and the last error
	CacheStats() (tenants int, missed uint64)     // tenants whose keys are in memory, and uses of keys that were not in memory
	MissingStats() (missing int, restored uint64) // keysets that are missing in the store, and keysets that were written back
}

// WatchKeys adds the metrics of a keyring. Its methods are called when the metrics are read.
func (m *Metrics) WatchKeys(keys Keys) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
	}
	counter := func(name, help string, value func() uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("unlocked_tenants", "Tenants whose keys are in memory. They can be used while the KMS is unavailable.", func() float64 {
		tenants, _ := keys.CacheStats()
		return float64(tenants)
	})
	counter("key_cache_misses_total", "Uses of keys that were not in memory and waited for the KMS.", func() uint64 {
		_, missed := keys.CacheStats()
		return missed
	})
	gauge("kms_failing_seconds", "Time since calls of the KMS began to fail; 0 if the last call succeeded.", func() float64 {
		since, err := keys.KEKHealth()
		if err == nil {
			return 0
		}
		return time.Since(since).Seconds()
	})
	gauge("keysets_missing", "Keysets that are missing in their store and are not written back from memory yet.", func() float64 {
		missing, _ := keys.MissingStats()
		return float64(missing)
	})
	counter("keysets_restored_total", "Keysets that were missing in their store and were written back from memory.", func() uint64 {
		_, restored := keys.MissingStats()
		return restored
	})
}

// WatchUnknownKeys adds the number of entries under unknown keys. The function is called when the metrics are read.
func (m *Metrics) WatchUnknownKeys(entries func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "unknown_key_entries", Help: "Entries under keys that no keyset of their tenant contains, as found by a scan.",
	}, func() float64 { return float64(entries()) }))
}

func (m *Metrics) countKMSCall(call string, err error, took time.Duration) {
	m.kmsCalls.WithLabelValues(call, outcome(err)).Inc()
	m.kmsLatency.WithLabelValues(call).Observe(took.Seconds())
}
