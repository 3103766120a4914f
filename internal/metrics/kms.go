package metrics

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-storage/coffer/server/kms"
)

// WatchKMS gives a KEK that counts and times the calls of another.
func (m *Metrics) WatchKMS(kek kms.KEK) kms.KEK { return watched{kek, m} }

type watched struct {
	kms.KEK
	metrics *Metrics
}

// Wrap implements kms.KEK.
func (w watched) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	begin := time.Now()
	wrapped, err := w.KEK.Wrap(ctx, key, additionalData)
	w.metrics.kmsCall("wrap", err, time.Since(begin))
	return wrapped, err
}

// Unwrap implements kms.KEK.
func (w watched) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	begin := time.Now()
	key, err := w.KEK.Unwrap(ctx, wrapped, additionalData)
	w.metrics.kmsCall("unwrap", err, time.Since(begin))
	return key, err
}

// RenewCredentials renews the credentials of the KEK that is measured; see kms.RenewCredentials.
func (w watched) RenewCredentials(ctx context.Context, log *slog.Logger) {
	kms.RenewCredentials(ctx, log, w.KEK)
}

// Keys is what a keyring reports of itself.
type Keys interface {
	KEKHealth() (since time.Time, err error)      // of the KEKs: why and since when they fail
	CacheStats() (tenants int, missed uint64)     // tenants whose keys are in memory, and uses that found theirs not there
	MissingStats() (missing int, restored uint64) // keysets that vanished from the store, and that were written back
}

// WatchKeys adds the metrics of a keyring, which is asked when the metrics are.
func (m *Metrics) WatchKeys(keys Keys) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
	}
	counter := func(name, help string, value func() uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("unlocked_tenants", "Tenants whose keys are in memory, which is what an outage of the KMS is survived with.", func() float64 {
		tenants, _ := keys.CacheStats()
		return float64(tenants)
	})
	counter("key_cache_misses_total", "Uses of keys that were not in memory, and waited for the KMS.", func() uint64 {
		_, missed := keys.CacheStats()
		return missed
	})
	gauge("kms_failing_seconds", "Since when calls of the KMS fail; 0 if the last one was answered.", func() float64 {
		since, err := keys.KEKHealth()
		if err == nil {
			return 0
		}
		return time.Since(since).Seconds()
	})
	gauge("keysets_missing", "Keysets that vanished from their store and are not written back from memory yet.", func() float64 {
		missing, _ := keys.MissingStats()
		return float64(missing)
	})
	counter("keysets_restored_total", "Keysets that had vanished from their store and were written back from memory.", func() uint64 {
		_, restored := keys.MissingStats()
		return restored
	})
}

// WatchUnknownKeys adds the number of entries that a scan found under unknown keys. The function is asked when the metrics are.
func (m *Metrics) WatchUnknownKeys(entries func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "unknown_key_entries", Help: "Entries that a scan found under keys that no keyset of their tenant has.",
	}, func() float64 { return float64(entries()) }))
}

func (m *Metrics) kmsCall(call string, err error, took time.Duration) {
	m.kmsCalls.WithLabelValues(call, outcome(err)).Inc()
	m.kmsLatency.WithLabelValues(call).Observe(took.Seconds())
}
