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

// Keep is that of package kms for the other KEK.
func (w watched) Keep(ctx context.Context, log *slog.Logger) { kms.Keep(ctx, log, w.KEK) }

// WatchKeys tells whether the KEKs' last call failed, and for how long; and of how many tenants keys are in
// memory, and how often they were not. The functions are asked when the metrics are.
func (m *Metrics) WatchKeys(health func() (since time.Time, err error), cached func() (tenants int, missed uint64)) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "unlocked_tenants", Help: "Tenants whose keys are in memory, which is what an outage of the KMS is survived with.",
	}, func() float64 {
		tenants, _ := cached()
		return float64(tenants)
	}), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "key_cache_misses_total", Help: "Uses of keys that were not in memory, and waited for the KMS.",
	}, func() float64 {
		_, missed := cached()
		return float64(missed)
	}))
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "kms_failing_seconds", Help: "Since when calls of the KMS fail; 0 where the last one was answered.",
	}, func() float64 {
		since, err := health()
		if err == nil {
			return 0
		}
		return time.Since(since).Seconds()
	}))
}

func (m *Metrics) kmsCall(call string, err error, took time.Duration) {
	m.kmsCalls.WithLabelValues(call, outcome(err)).Inc()
	m.kmsLatency.WithLabelValues(call).Observe(took.Seconds())
}
