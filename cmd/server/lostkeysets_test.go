package main_test

import (
	"bytes"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// defaultKeyset is the document of the default tenant in Redis.
const defaultKeyset = "{coffer-keys}/keyset/default"

// Until then it is not ready. Every value opens after a restart.
func TestServerWritesALostKeysetBack(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t)
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr, "REDIS_URL=redis://" + cache.Addr}
	data := t.TempDir()
	p := serve(t, data, environ...)
	p.put(p.token, "before", record)
	p.answers(http.StatusOK, "", "GET", "/readyz", "")

	redis := keysets.Client(t)
	require.NoError(t, redis.ConfigSet(t.Context(), "maxmemory", "1").Err()) // Redis now accepts only deletions
	require.EqualValues(t, 1, redis.Del(t.Context(), defaultKeyset).Val())
	soon(t, func() bool { return p.metric("coffer_keysets_missing") == 1 })
	require.Contains(t, p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", ""), "keyring_unavailable")
	p.put(p.token, "meanwhile", record) // with the keys in memory
	soon(t, func() bool {
		return strings.Contains(auditLog(t, data), `"severity":"critical","action":"keyset.lost","outcome":"failed","code":"keyring_unavailable","operation":"serve","tenant":"default"`)
	})
	require.NotContains(t, auditLog(t, data), `"action":"keyset.restored"`)

	require.NoError(t, redis.ConfigSet(t.Context(), "maxmemory", "0").Err())
	p.answers(http.StatusOK, "", "GET", "/readyz", "")
	soon(t, func() bool { return strings.Contains(auditLog(t, data), `"action":"keyset.restored","outcome":"ok"`) })
	require.EqualValues(t, 1, p.metric("coffer_keysets_restored_total"))
	require.Zero(t, p.metric("coffer_keysets_missing"))
	require.Zero(t, p.stop(syscall.SIGTERM))
	log := p.log.String()
	require.Equal(t, 1, strings.Count(log, "a keyset, or a change of one, is missing from the keystore"), log)
	require.Equal(t, 1, strings.Count(log, "this server wrote a missing keyset to the keystore again"), log)
	require.NotContains(t, log, "keyset/default")
	require.NotContains(t, log, `"tenant":"default"`)
	require.Equal(t, 1, strings.Count(auditLog(t, data), `"action":"keyset.lost"`))

	again := serve(t, data, environ...)
	for _, key := range []string{"before", "meanwhile"} {
		again.requireValue(p.token, key, record)
	}
}

// Each alarm is raised once, and readiness reports it until the keyset is restored.
func TestServerReportsAnAlteredKeyset(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t)
	data := t.TempDir()
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr, "REDIS_URL=redis://" + cache.Addr}
	before := serve(t, data, environ...)
	clinic := tokenFor(t, environ, data, "clinic")
	before.put(clinic, "patient", record)
	require.Zero(t, before.stop(syscall.SIGTERM))
	redis := keysets.Client(t)
	whole, err := redis.Get(t.Context(), "{coffer-keys}/keyset/clinic").Bytes()
	require.NoError(t, err)
	url := bytes.Index(whole, []byte("base64key://"))
	altered := bytes.Clone(whole)
	altered[url+len("base64key://")+16+2+3] ^= 1 // the key id of the KEK, in the wrapped root
	require.NoError(t, redis.Set(t.Context(), "{coffer-keys}/keyset/clinic", altered, 0).Err())

	p := serve(t, data, environ...)
	p.token = before.token
	for range 3 {
		status, said := p.do(clinic, "GET", "/v1/cache/patient", "")
		require.Equal(t, http.StatusUnprocessableEntity, status, said)
		require.Contains(t, said, `"authentication_failed"`)
	}
	soon(t, func() bool {
		return strings.Contains(auditLog(t, data), `"severity":"critical","action":"keyset.unopened","outcome":"failed","code":"authentication_failed","operation":"serve","tenant":"clinic"`)
	})
	require.Equal(t, 1, strings.Count(auditLog(t, data), `"action":"keyset.unopened"`))
	require.EqualValues(t, 1, p.metric(`coffer_integrity_failures_total{class="none"}`))
	ready := func() string { return p.answers(http.StatusOK, "", "GET", "/readyz", "") }
	soon(t, func() bool { return strings.Contains(ready(), `"degraded":["authentication_failed"]`) })
	p.logs(`"level":"ERROR","msg":"a keyset in the keystore does not open`)
	require.NotContains(t, p.log.String(), `"clinic"`)

	require.NoError(t, redis.Set(t.Context(), "{coffer-keys}/keyset/clinic", whole, 0).Err())
	soon(t, func() bool { return !strings.Contains(ready(), "degraded") })
	p.requireValue(clinic, "patient", record)
}

// It reports them until the keyset is restored.
func TestServerReportsEntriesUnderLostKeys(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t)
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_KEYS_REDIS_URL=redis://" + keysets.Addr, "REDIS_URL=redis://" + cache.Addr}
	data := t.TempDir()
	before := serve(t, data, environ...)
	before.put(before.token, "before", record)
	require.Zero(t, before.stop(syscall.SIGTERM))
	redis := keysets.Client(t)
	lost, err := redis.Get(t.Context(), defaultKeyset).Bytes()
	require.NoError(t, err)
	require.EqualValues(t, 1, redis.Del(t.Context(), defaultKeyset).Val())
	require.EqualValues(t, 1, redis.ZRem(t.Context(), "{coffer-keys}/names/keyset", "default").Val())

	p := serve(t, data, environ...)
	p.token = before.token
	p.put(p.token, "after", record)
	soon(t, func() bool { return p.metric("coffer_unknown_key_entries") == 1 })
	ready := func() string { return p.answers(http.StatusOK, "", "GET", "/readyz", "") }
	soon(t, func() bool { return strings.Contains(ready(), `"degraded":["unknown_key"]`) })
	soon(t, func() bool {
		return strings.Contains(auditLog(t, data), `"severity":"critical","action":"key.unknown","outcome":"failed","code":"unknown_key","operation":"serve","tenant":"default"`)
	})
	p.logs("the cache has entries under keys")
	log := p.log.String()
	require.Equal(t, 1, strings.Count(log, "the cache has entries under keys that no keyset of their tenant has"), log)
	require.NotContains(t, log, `"default"`)

	require.NoError(t, redis.Set(t.Context(), defaultKeyset, lost, 0).Err())
	soon(t, func() bool { return !strings.Contains(ready(), "unknown_key") })
	require.Zero(t, p.metric("coffer_unknown_key_entries"))
}
