package metrics

import "github.com/prometheus/client_golang/prometheus"

// TokenCounts contains the numbers of API tokens.
type TokenCounts struct {
	States   map[string]int // tokens by state
	Expiring int            // tokens in force that expire within seven days
}

var (
	tokenStates    = newDesc("tokens", "API tokens by state: live, expired but not deleted yet, revoked, or altered in the keystore.", "state")
	tokensExpiring = newDesc("tokens_expiring", "API tokens in force that expire within seven days.")
)

// tokenCollector exports TokenCounts.
type tokenCollector func() TokenCounts

// WatchTokens adds the metrics of API tokens. read is called when the metrics are read.
func (m *Metrics) WatchTokens(read func() TokenCounts) { m.registry.MustRegister(tokenCollector(read)) }

// Describe implements prometheus.Collector.
func (t tokenCollector) Describe(to chan<- *prometheus.Desc) {
	to <- tokenStates
	to <- tokensExpiring
}

// Collect implements prometheus.Collector.
func (t tokenCollector) Collect(to chan<- prometheus.Metric) {
	now := t()
	for state, n := range now.States {
		to <- prometheus.MustNewConstMetric(tokenStates, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(tokensExpiring, prometheus.GaugeValue, float64(now.Expiring))
}
