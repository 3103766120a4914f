package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// What a server under a KMS tells of its keys, of a rotation, and of the KMS answering.
func TestMetricsOfKeys(t *testing.T) {
	t.Parallel()
	k := kmss(t)["vault"]
	p := serve(t, t.TempDir(), append(k.environ, "COFFER_ENVIRONMENT=prod")...)
	for _, name := range []string{"a", "b", "c"} {
		p.put(p.token, name, record)
		p.requireValue(p.token, name, record)
	}
	shows := func(name string, want float64) {
		t.Helper()
		soon(t, func() bool { return p.told(name) && p.metric(name) == want })
	}
	shows("coffer_keysets_overdue", 0)
	require.Less(t, p.metric("coffer_oldest_primary_age_seconds"), 60.0)
	require.Equal(t, 1.0, p.metric("coffer_unlocked_tenants"))
	require.Equal(t, 2.0, p.metric("coffer_key_cache_misses_total"), "the start's: of the tenant and of the environment")
	shows(`coffer_rotations{state="grace"}`, 0)

	status, said := p.do(p.token, http.MethodPost, "/v1/keys:rotate?tenant=default", "")
	require.Equal(t, http.StatusOK, status, said)
	shows(`coffer_rotations{state="grace"}`, 1)
	require.Equal(t, 3.0, p.metric(`coffer_rotation_entries_total{result="reencrypted"}`))
	require.Zero(t, p.metric("coffer_rotation_entries_left"))
	require.Zero(t, p.metric("coffer_kms_failing_seconds")) // TestKMS has it fail
	require.Zero(t, p.stop(syscall.SIGTERM))
}

// told reports whether there is such a metric.
func (p *process) told(name string) bool {
	_, text := p.do(p.token, "GET", "/metrics", "")
	return strings.Contains(text, "\n"+name+" ")
}

// The alert rules of the documentation are rules, they and its table name metrics that there are, and no
// metric is left out.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	text := string(content)
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	_, block, _ := strings.Cut(text, "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	decoder := yaml.NewDecoder(strings.NewReader(block))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&rules))
	require.Len(t, rules.Groups, 1)
	require.NotEmpty(t, rules.Groups[0].Rules)

	p := serve(t, t.TempDir())
	p.put(p.token, "k", record)
	p.requireValue(p.token, "k", record)
	status, said := p.do(p.token, http.MethodPost, "/v1/keys:rotate?tenant=default", "")
	require.Equal(t, http.StatusOK, status, said)
	soon(t, func() bool { return p.told("coffer_keysets_overdue") && p.told("coffer_rotations_room") }) // the latter after the first pass over all keysets
	_, scraped := p.do(p.token, http.MethodGet, "/metrics", "")
	there := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (coffer_\w+) `).FindAllStringSubmatch(scraped, -1) {
		there[name[1]] = true
		require.True(t, strings.Contains(text, "`"+name[1]+"`"), "the metric %s is not documented", name[1])
	}
	named := regexp.MustCompile(`coffer_\w+`)
	table, _, _ := strings.Cut(text[strings.Index(text, "### Metrics"):], "```")
	for _, name := range named.FindAllString(table, -1) {
		require.True(t, there[name], name)
	}
	for _, rule := range rules.Groups[0].Rules {
		require.Regexp(t, `^Coffer[A-Z]`, rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"])
		require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"])
		names := named.FindAllString(rule.Expr, -1)
		require.NotEmpty(t, names, rule.Alert)
		for _, name := range names {
			require.True(t, there[name], rule.Alert)
		}
	}
}
