package metrics

import "github.com/prometheus/client_golang/prometheus"

var (
	readyNow     = desc("ready", "1 if /readyz answers 200, as of the last look at what the server needs.")
	failingCheck = desc("check_failing", "1 if a check of readiness fails, by its code and what that means: not_ready or degraded.", "code", "effect")
)

// Readiness is what a server knows of its own readiness. Each must be quick: it is called when the metrics are read.
type Readiness interface {
	Each(f func(code string, degrades, fails bool))
}

// WatchReadiness adds the metrics of a server's readiness.
func (m *Metrics) WatchReadiness(r Readiness) { m.registry.MustRegister(readinessMetrics{r}) }

type readinessMetrics struct{ Readiness }

// Describe implements prometheus.Collector.
func (readinessMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- readyNow
	to <- failingCheck
}

// Collect implements prometheus.Collector.
func (r readinessMetrics) Collect(to chan<- prometheus.Metric) {
	ready := 1.0
	r.Each(func(code string, degrades, fails bool) {
		effect, value := "not_ready", 0.0
		if degrades {
			effect = "degraded"
		}
		if fails {
			value = 1
		}
		if fails && !degrades {
			ready = 0
		}
		to <- prometheus.MustNewConstMetric(failingCheck, prometheus.GaugeValue, value, code, effect)
	})
	to <- prometheus.MustNewConstMetric(readyNow, prometheus.GaugeValue, ready)
}
