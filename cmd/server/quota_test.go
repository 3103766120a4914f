package main_test

import (
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// requireRefused checks that a server refuses new data with a code, and serves everything else.
func requireRefused(t *testing.T, p *process, code string) {
	t.Helper()
	request := func(method, path, body string) (int, string) { return p.do(p.token, method, path, body) }
	status, body := request("PUT", "/v1/cache/new?class=phi", strings.Repeat("v", 5000))
	require.Equal(t, 507, status, body)
	require.Contains(t, body, code)
	status, body = request("POST", "/v1/cache:batch", fmt.Sprintf(`{"operations":[{"op":"set","key":"new","class":"phi","value":%q},{"op":"delete","key":"second"}]}`, strings.Repeat("A", 8000)))
	require.Equal(t, 200, status, body)
	require.Contains(t, body, code)
	require.Contains(t, body, "204", "the deletion")
	p.requireValue(p.token, "first", record)
	status, body = request("PATCH", "/v1/cache/first?ttl=1h", "")
	require.Equal(t, 204, status, body)
	status, body = request("GET", "/v1/cache", "")
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"first"`)
	require.GreaterOrEqual(t, p.metric(`coffer_storage_refused_total{code="`+code+`"}`), 2.0)
	status, body = request("DELETE", "/v1/cache/first", "")
	require.Equal(t, 204, status, body)
}

// Both stores answer 507. It is logged once.
func TestTenantBeyondItsQuotaIsRefused(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for name, environ := range map[string][]string{"embedded": nil, "redis": {"REDIS_URL=redis://" + redis.Addr}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, t.TempDir(), append(environ, "COFFER_TENANT_STORAGE=4000")...)
			p.put(p.token, "first", record)
			p.put(p.token, "second", record)
			require.Positive(t, p.metric("coffer_store_bytes"))
			requireRefused(t, p, "quota_exceeded")
			p.logs("its writes are refused")
			require.Equal(t, 1, strings.Count(p.log.String(), "its writes are refused"), p.log)
			require.NotContains(t, p.log.String(), `"level":"ERROR"`)
			status, body := p.do("", "GET", "/readyz", "")
			require.Equal(t, 200, status)
			require.Contains(t, body, `"ok"`, "a tenant's quota is its own matter")
			require.Zero(t, p.stop(syscall.SIGTERM), p.log)
		})
	}
}

// It starts, reads and deletes. It answers 507 to new data.
func TestServerRefusesNewDataBelowTheMinimumOfFreeSpace(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	p.put(p.token, "first", record)
	p.put(p.token, "second", record)
	require.Positive(t, p.metric("coffer_store_free_bytes"))
	token := p.token
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)

	p = serve(t, data, fmt.Sprint("COFFER_MIN_FREE=", int64(math.MaxInt64/4)))
	p.token = token
	requireRefused(t, p, "storage_full")
	status, body := p.do("", "GET", "/readyz", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"degraded","degraded":["storage_full"]}`, body)
	p.logs(`"msg":"a check of readiness fails"`)
	require.Equal(t, 1, strings.Count(p.log.String(), `"msg":"a check of readiness fails","code":"storage_full"`), p.log)
	require.NotContains(t, p.log.String(), `"level":"ERROR"`)
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)
}
