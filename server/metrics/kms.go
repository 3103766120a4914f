package metrics

import (
	"context"
	"time"

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

func (m *Metrics) kmsCall(call string, err error, took time.Duration) {
	m.kmsCalls.WithLabelValues(call, outcome(err)).Inc()
	m.kmsLatency.WithLabelValues(call).Observe(took.Seconds())
}
