package metrics

import "github.com/prometheus/client_golang/prometheus"

var (
	readyNow     = newDesc("ready", "1 if /readyz returns 200, as of the last round of checks.")
	failingCheck = newDesc("check_failing", "1 if a readiness check fails, by its code and effect: not_ready or degraded.", "code", "effect")
)

// Readiness provides the results of readiness checks. Each must be fast: it is called when the metrics are read.
type Readiness interface {
	Each(f func(code string, degrades, fails bool))
}

// WatchReadiness adds the metrics of a server's readiness.
func (m *Metrics) WatchReadiness(r Readiness) { m.registry.MustRegister(readinessCollector{r}) }

type readinessCollector struct{ Readiness }

// Describe implements prometheus.Collector.
func (readinessCollector) Describe(to chan<- *prometheus.Desc) {
	to <- readyNow
	to <- failingCheck
}

// Collect implements prometheus.Collector.
func (r readinessCollector) Collect(to chan<- prometheus.Metric) {
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
