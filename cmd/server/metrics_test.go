package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/coffer-storage/coffer/internal/proctest"
)

func TestMetricsOfKeysAndRotations(t *testing.T) {
	t.Parallel()
	k := kmss(t)["vault"]
	p := serve(t, t.TempDir(), append(k.environ, "COFFER_ENVIRONMENT=prod")...)
	for _, name := range []string{"a", "b", "c"} {
		p.put(p.token, name, record)
		p.requireValue(p.token, name, record)
	}
	shows := func(name string, want float64) {
		t.Helper()
		soon(t, func() bool { return p.hasMetric(name) && p.metric(name) == want })
	}
	shows("coffer_keysets_overdue", 0)
	require.Less(t, p.metric("coffer_oldest_primary_age_seconds"), 60.0)
	require.Equal(t, 1.0, p.metric("coffer_unlocked_tenants"))
	require.Equal(t, 2.0, p.metric("coffer_key_cache_misses_total"), "the start's: of the tenant and of the environment")
	shows(`coffer_rotations{state="grace"}`, 0)

	status, said := p.do(p.token, http.MethodPost, "/v1/keys:rotate", `{"tenant":"default"}`)
	require.Equal(t, http.StatusOK, status, said)
	shows(`coffer_rotations{state="grace"}`, 1)
	require.Equal(t, 3.0, p.metric(`coffer_rotation_entries_total{result="reencrypted"}`))
	require.Zero(t, p.metric("coffer_rotation_entries_left"))
	require.Zero(t, p.metric("coffer_kms_failing_seconds")) // the KMS is reachable; TestKMS covers an outage
	require.Zero(t, p.stop(syscall.SIGTERM))
}

// hasMetric reports whether /metrics has a metric of this name.
func (p *process) hasMetric(name string) bool {
	_, text := p.do(p.token, "GET", "/metrics", "")
	return strings.Contains(text, "\n"+name+" ")
}

// alertRules returns the alert rules of the package.
func alertRules(t *testing.T) (rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(prometheus, "alerts.yaml"))
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&rules))
	require.Len(t, rules.Groups, 1)
	require.NotEmpty(t, rules.Groups[0].Rules)
	return rules
}

const prometheus = "../../packaging/prometheus"

func TestAlertRulesPassTheirUnitTests(t *testing.T) {
	t.Parallel()
	_, err := exec.LookPath("promtool")
	require.NoError(t, err, "on Debian: apt-get install prometheus")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := proctest.Command(t, "promtool", args...)
		cmd.Dir = prometheus
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
	}
	tests, err := os.ReadFile(filepath.Join(prometheus, "alerts_test.yaml"))
	require.NoError(t, err)
	for _, rule := range alertRules(t).Groups[0].Rules {
		require.Contains(t, string(tests), "alertname: "+rule.Alert+"\n")
	}
}

// The table in the docs has every metric.
func TestMetricsInRulesDashboardAndDocsExist(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "monitoring.md"))
	require.NoError(t, err)
	text := string(content)
	rules := alertRules(t)

	p := serve(t, t.TempDir())
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	status, said := p.do(p.token, http.MethodPost, "/v1/keys:rotate", `{"tenant":"default"}`)
	require.Equal(t, http.StatusOK, status, said)
	soon(t, func() bool { return p.hasMetric("coffer_keysets_overdue") && p.hasMetric("coffer_rotations_room") }) // the latter after the first pass over all keysets
	_, scraped := p.do(p.token, http.MethodGet, "/metrics", "")
	there := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^# TYPE ((?:coffer|process)_\w+) `).FindAllStringSubmatch(scraped, -1) {
		there[name[1]] = true
		if strings.HasPrefix(name[1], "coffer_") {
			require.True(t, strings.Contains(text, "`"+name[1]+"`"), "the metric %s is not documented", name[1])
		}
	}
	named := regexp.MustCompile(`\b(?:coffer|process)_[a-z_]+`)
	table, _, _ := strings.Cut(text[strings.Index(text, "## Metrics"):], "Configure Prometheus")
	for _, name := range named.FindAllString(table, -1) {
		require.True(t, there[name], name)
	}
	for _, rule := range rules.Groups[0].Rules {
		require.Regexp(t, `^Coffer[A-Z]`, rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"])
		require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"])
		for _, name := range named.FindAllString(rule.Expr, -1) {
			require.True(t, there[strings.TrimSuffix(name, "_bucket")], "%s: %s", rule.Alert, name)
		}
	}
	requireDashboard(t, func(expr string) {
		names := named.FindAllString(expr, -1)
		require.NotEmpty(t, names, expr)
		for _, name := range names {
			require.True(t, there[strings.TrimSuffix(name, "_bucket")], name)
		}
	})
}

// requireDashboard reads the dashboard, and calls look with each of its queries.
func requireDashboard(t *testing.T, look func(expr string)) {
	t.Helper()
	content, err := os.ReadFile("../../packaging/grafana/coffer.json")
	require.NoError(t, err)
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(content, &dashboard))
	require.Greater(t, len(dashboard.Panels), 10)
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			look(target.Expr)
		}
	}
}
