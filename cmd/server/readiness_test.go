package main_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// A server recovers without a restart, and waits for a keystore that cannot be reached at the start.
func TestReadinessFollowsKeystoreAndCache(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t)
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr, "REDIS_URL=redis://" + cache.Addr}
	p := serve(t, t.TempDir(), environ...)
	p.answers(http.StatusOK, "", "GET", "/readyz", "")
	require.EqualValues(t, 1, p.metric("coffer_ready"))

	p.put(p.token, "k", record)
	keysets.Freeze()
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "keyring_unavailable")
	p.put(p.token, "k", record) // with the keys in memory
	keysets.Thaw()
	p.answers(http.StatusOK, "", "GET", "/readyz", "")

	require.NoError(t, keysets.Client(t).ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "keyring_unavailable")
	require.NoError(t, keysets.Client(t).ReplicaOf(t.Context(), "NO", "ONE").Err())
	p.answers(http.StatusOK, "", "GET", "/readyz", "")

	require.NoError(t, cache.Client(t).ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "store_unavailable")
	require.Zero(t, p.metric("coffer_ready"))
	require.EqualValues(t, 1, p.metric(`coffer_check_failing{code="store_unavailable",effect="not_ready"}`))
	require.NoError(t, cache.Client(t).ConfigSet(t.Context(), "maxmemory", "0").Err())
	p.answers(http.StatusOK, "", "GET", "/readyz", "")
	require.Zero(t, p.stop(syscall.SIGTERM))
	require.Contains(t, p.log.String(), "a check of readiness passes again")

	keysets.Stop()
	waiting := serve(t, t.TempDir(), environ...)
	require.Empty(t, waiting.token)
	waiting.answers(http.StatusOK, "", "GET", "/livez", "")
	require.Contains(t, waiting.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "keyring_unavailable")
	keysets.Restart()
	waiting.answers(http.StatusOK, "", "GET", "/readyz", "")
	require.Zero(t, waiting.stop(syscall.SIGTERM))
	require.Positive(t, strings.Count(waiting.log.String(), "the server cannot start yet"))
}
