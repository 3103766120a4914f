package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
)

// An operator sees the failing checks, whether the server is degraded or not ready.
func TestReadyReturnsFailingChecks(t *testing.T) {
	t.Parallel()
	const checks = `"checks":[{"code":"store_unavailable","effect":"not_ready","since":"2026-01-02T03:04:05Z","detail":"Redis is a replica"}]`
	answers := map[int]string{
		http.StatusOK:                 `{"status":"degraded","degraded":["store_unavailable"],` + checks + `}`,
		http.StatusServiceUnavailable: `{"title":"Service Unavailable","status":503,"code":"store_unavailable","detail":"x","requestId":"1",` + checks + `}`,
	}
	for status, body := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", map[bool]string{true: "application/json", false: "application/problem+json"}[status == http.StatusOK])
			w.Header().Set("X-Request-Id", "1")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		defer server.Close()
		c, err := client.New(server.URL)
		require.NoError(t, err)
		health, err := c.Ready(t.Context())
		found := health.Checks
		var failed *client.Error
		if errors.As(err, &failed) {
			found = failed.Checks
		}
		require.Equal(t, status != http.StatusOK, err != nil, "%v", err)
		require.Len(t, found, 1)
		require.Equal(t, "Redis is a replica", found[0].Detail)
		require.Equal(t, 2026, found[0].Since.Year())
	}
}
