package metrics_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
)

func hash(tenant string) string {
	sum := sha256.Sum256([]byte("key" + tenant))
	return hex.EncodeToString(sum[:8])
}

func newMetrics() *metrics.Metrics { return metrics.New([]string{"getEntry", "putEntry"}, hash) }

// scrape returns the metrics as Prometheus reads them.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, recorder.Code)
	require.Contains(t, recorder.Header().Get("Content-Type"), "text/plain")
	return recorder.Body.String()
}

func TestOperationsAreCounted(t *testing.T) {
	m := newMetrics()
	m.Operation(metrics.OperationResult{Operation: "getEntry", Tenant: "clinic", Class: classify.PHI, Took: 2 * time.Millisecond})
	m.Operation(metrics.OperationResult{Operation: "getEntry", Tenant: "clinic", Class: classify.PHI, Took: 20 * time.Second})
	m.Operation(metrics.OperationResult{
		Operation: "putEntry", Tenant: "clinic", Err: fmt.Errorf("reading: %w", &codes.Error{ErrorCode: "store_unavailable", Message: "x"}),
	})
	m.Operation(metrics.OperationResult{Operation: "putEntry", Err: errors.New("without a code")})
	m.Operation(metrics.OperationResult{Operation: "putEntry", Err: errors.New("broken pipe"), Canceled: true})
	m.Lookups(3, 1)
	m.Sealed(classify.PII)
	m.IntegrityFailed(classify.PHI, 1)
	m.UnknownKey(2)
	m.AuditCopyLost(3)
	m.AuditUnrecorded(2)
	m.WatchLog(func() int { return 4 })
	m.Opened(classify.PHI)
	m.Opened(classify.PHI)
	require.Contains(t, scrape(t, m), "coffer_draining 0\n")
	m.SetDraining()
	text := scrape(t, m)
	for _, line := range []string{
		`coffer_operations_total{class="phi",operation="getEntry",outcome="ok"} 2`,
		`coffer_operations_total{class="none",operation="putEntry",outcome="store_unavailable"} 1`,
		`coffer_operations_total{class="none",operation="putEntry",outcome="internal"} 1`,
		`coffer_operations_total{class="none",operation="putEntry",outcome="canceled"} 1`,
		`coffer_operation_duration_seconds_bucket{operation="getEntry",le="0.001"} 0`,
		`coffer_operation_duration_seconds_bucket{operation="getEntry",le="0.0025"} 1`,
		`coffer_operation_duration_seconds_bucket{operation="getEntry",le="30"} 2`,
		`coffer_operation_duration_seconds_count{operation="getEntry"} 2`,
		`coffer_cache_lookups_total{result="hit"} 3`,
		`coffer_cache_lookups_total{result="miss"} 1`,
		`coffer_key_uses_total{action="seal",class="pii"} 1`,
		`coffer_key_uses_total{action="open",class="phi"} 2`,
		`coffer_integrity_failures_total{class="phi"} 1`,
		"coffer_unknown_key_total 2",
		"coffer_audit_copy_lost_total 3",
		"coffer_log_dropped_total 4",
		"coffer_draining 1",
		"coffer_audit_unrecorded_total 2",
		`coffer_tenant_operations_total{failed="false",tenant="` + hash("clinic") + `"} 2`,
		`coffer_tenant_operations_total{failed="true",tenant="` + hash("clinic") + `"} 1`,
		"go_goroutines ", "process_open_fds ", "go_build_info{",
	} {
		require.Contains(t, text, line)
	}
}

// The test puts text that clients control into every field, ten thousand times. The series stay few and contain none of
// the text.
func TestSeriesAreBounded(t *testing.T) {
	m := newMetrics()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for j := range 1000 {
				planted := fmt.Sprintf("planted-%d-%d", i, j)
				m.Operation(metrics.OperationResult{
					Operation: planted, Tenant: planted, Class: classify.Class(j), Err: &codes.Error{ErrorCode: planted, Message: planted},
				})
				m.Sealed(classify.Class(j))
				m.IntegrityFailed(classify.Class(j), 1)
			}
		})
	}
	wg.Wait()
	text := scrape(t, m)
	require.NotContains(t, text, "planted")
	require.Equal(t, metrics.MaxTenants+1, strings.Count(text, "\ncoffer_tenant_operations_total{"))
	require.Contains(t, text, `coffer_tenant_operations_total{failed="true",tenant="other"} 9900`)
	require.Equal(t, len(classify.All)+1, strings.Count(text, "\ncoffer_operations_total{"))
	require.Equal(t, len(classify.All)+1, strings.Count(text, "\ncoffer_key_uses_total{"))
}

// The counters that alerts use start at 0, so that the first failure is an increase.
func TestAlertCountersStartAtZero(t *testing.T) {
	text := scrape(t, newMetrics())
	for _, class := range []string{"none", "public", "internal", "confidential", "pii", "phi"} {
		require.Contains(t, text, `coffer_integrity_failures_total{class="`+class+`"} 0`)
	}
	require.Contains(t, text, "coffer_audit_unrecorded_total 0\n")
}

func TestRegistriesAreIndependent(t *testing.T) {
	one, another := newMetrics(), newMetrics()
	one.Lookups(1, 0)
	require.NotContains(t, scrape(t, another), "coffer_cache_lookups_total{")
}

type failing struct{ kms.KEK }

func (failing) Wrap(context.Context, []byte, []byte) ([]byte, error) { return []byte("wrapped"), nil }
func (failing) Unwrap(context.Context, []byte, []byte) ([]byte, error) {
	return nil, kms.ErrUnavailable
}
func (failing) URL() string { return "test://kek" }

func TestKMSCallsAreCounted(t *testing.T) {
	m := newMetrics()
	kek := m.WatchKMS(failing{})
	require.Equal(t, "test://kek", kek.URL())
	wrapped, err := kek.Wrap(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Equal(t, "wrapped", string(wrapped))
	_, err = kek.Unwrap(t.Context(), nil, nil)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	text := scrape(t, m)
	require.Contains(t, text, `coffer_kms_calls_total{call="wrap",outcome="ok"} 1`)
	require.Contains(t, text, `coffer_kms_calls_total{call="unwrap",outcome="`+codes.Of(kms.ErrUnavailable).Code+`"} 1`)
	require.Contains(t, text, `coffer_kms_call_duration_seconds_count{call="unwrap"} 1`)
}

type testKeyring struct{ failed error }

func (k *testKeyring) KEKHealth() (time.Time, error) { return time.Now().Add(-time.Minute), k.failed }
func (k *testKeyring) CacheStats() (int, uint64)     { return 3, 5 }
func (k *testKeyring) MissingStats() (int, uint64)   { return 2, 7 }

// The time since the KMS began to fail is determined when the metrics are read.
func TestKeyringMetrics(t *testing.T) {
	m := metrics.New(nil, func(string) string { return "" })
	keys := &testKeyring{}
	m.WatchKeys(keys)
	require.Contains(t, scrape(t, m), "coffer_unlocked_tenants 3\n")
	require.Contains(t, scrape(t, m), "coffer_key_cache_misses_total 5\n")
	require.Contains(t, scrape(t, m), "coffer_kms_failing_seconds 0\n")
	require.Contains(t, scrape(t, m), "coffer_keysets_missing 2\n")
	require.Contains(t, scrape(t, m), "coffer_keysets_restored_total 7\n")
	keys.failed = errors.New("pl4nted")
	require.Regexp(t, `coffer_kms_failing_seconds 6\d`, scrape(t, m))
	require.NotContains(t, scrape(t, m), "pl4nted")
}

// Unknown values are omitted. Every state has a series, even with no tenant in it, and no other state has one.
func TestRotationMetricsOmitUnknownValues(t *testing.T) {
	m := metrics.New(nil, hash)
	now := metrics.RotationStats{SpareRotations: -1}
	m.WatchRotations([]string{"grace", "done"}, []string{"kept", "failed"}, func() metrics.RotationStats { return now })
	text := scrape(t, m)
	for _, name := range []string{"rotations", "oldest_primary_age_seconds", "keysets_overdue", "rotations_room"} {
		require.NotContains(t, text, "coffer_"+name)
	}
	now = metrics.RotationStats{
		States: map[string]int{"grace": 2, "pl4nted": 1}, EntriesLeft: 7, Sweeping: true, Incomplete: true, CacheNotShared: true, Checked: true, OldestPrimary: time.Now().Add(-time.Hour), Overdue: 4, SpareRotations: 1000,
		Entries: map[string]int{"kept": 5, "failed": 1, "pl4nted": 1}, Errors: 3,
	}
	text = scrape(t, m)
	require.NotContains(t, text, "pl4nted")
	for _, line := range []string{
		`coffer_rotations{state="grace"} 2`, `coffer_rotations{state="done"} 0`, "coffer_rotation_entries_left 7", "coffer_rotation_working 1",
		"coffer_sweep_incomplete 1", "coffer_cache_not_shared 1",
		"coffer_keysets_overdue 4", "coffer_rotations_room 1000", `coffer_rotation_entries_total{result="kept"} 5`, `coffer_rotation_entries_total{result="failed"} 1`,
		"coffer_rotation_errors_total 3",
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Regexp(t, `\ncoffer_oldest_primary_age_seconds 360\d`, text)
	now.SpareRotations = -1
	require.NotContains(t, scrape(t, m), "coffer_rotations_room")
}
