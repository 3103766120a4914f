package metrics

import "github.com/prometheus/client_golang/prometheus"

// Tokens is how many API tokens there are.
type TokenCounts struct {
	States   map[string]int // by state
	Expiring int            // of those in force, within seven days
}

var (
	tokenStates    = desc("tokens", "API tokens by state: live, expired (and not deleted yet), revoked, or altered in the keystore.", "state")
	tokensExpiring = desc("tokens_expiring", "API tokens in force that expire within seven days.")
)

// tokens converts what a function returns into the form of Prometheus.
type tokens func() TokenCounts

// WatchTokens adds metrics of API tokens. see is called when the metrics are read.
func (m *Metrics) WatchTokens(see func() TokenCounts) { m.registry.MustRegister(tokens(see)) }

// Describe implements prometheus.Collector.
func (t tokens) Describe(to chan<- *prometheus.Desc) {
	to <- tokenStates
	to <- tokensExpiring
}

// Collect implements prometheus.Collector.
func (t tokens) Collect(to chan<- prometheus.Metric) {
	now := t()
	for state, n := range now.States {
		to <- prometheus.MustNewConstMetric(tokenStates, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(tokensExpiring, prometheus.GaugeValue, float64(now.Expiring))
}
