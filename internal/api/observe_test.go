package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/readiness"
)

// The log has the route, status and sizes of a request, and nothing else of its content.
func TestLogHasNoKeysOrValues(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		const planted = "pl4nted"
		for _, method := range []string{"PUT", "GET", "HEAD", "DELETE", "POST", planted} {
			for _, path := range []string{"/v1/cache/" + planted, "/v1/" + planted, "/" + planted, "/v1/cache/%FF" + planted} {
				for _, query := range []string{"?class=phi", "?" + planted + "=1", "?class=" + planted, "?class=phi&ttl=" + planted} {
					for _, header := range []string{"Coffer-Context", "Authorization", "X-Request-Id", "Accept", "User-Agent", "Cookie", "Host"} {
						body := []byte("body " + planted)
						s.do(method, path+query, body, header, `{"`+planted+`":"`+planted+`"}`)
						s.do(method, path+query, body, header, "Bearer "+planted)
					}
				}
			}
		}
		log := s.log.String()
		require.NotContains(t, log, planted)
		require.NotContains(t, log, strings.TrimPrefix(s.token, "coffer_"))
		require.Contains(t, log, `"route":"/v1/cache/*"`)
		require.Contains(t, log, `"method":"OTHER"`)
	})
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	const proxys = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
	require.Equal(t, proxys, s.do("GET", "/v1/cache/none", nil, "X-Request-Id", proxys).Header.Get("X-Request-Id"))
	require.Equal(t, proxys, s.lines()[0]["id"])
	seen := map[string]bool{}
	for _, id := range []string{"", "short", s.token, "<script>alert(1)</script>", strings.Repeat("a", 65), "4bf92f3577b34da6a3ce929d0e0e473g"} {
		got := s.do("GET", "/v1/cache/none", nil, "X-Request-Id", id).Header.Get("X-Request-Id")
		require.NotEqual(t, id, got)
		require.False(t, seen[got])
		seen[got] = true
	}
}

// Successful probes are not logged, other successful requests are logged at the configured rate, and every failed or refused
// request is logged.
func TestLogShareSelectsRequests(t *testing.T) {
	t.Parallel()
	const times = 400
	for share, want := range map[float64][2]int{1: {times, times}, 0: {0, 0}, 0.5: {times / 4, times * 3 / 4}} {
		s := start(t, embedded(t), func(o *api.Options) { o.LogShare = share })
		s.do("PUT", "/v1/cache/k?class=phi&ttl=1d", []byte("v")).is(t, http.StatusNoContent)
		before := len(s.lines())
		for range times {
			s.do("GET", "/v1/cache/k", nil).is(t, http.StatusOK)
		}
		logged := len(s.lines()) - before
		require.GreaterOrEqual(t, logged, want[0], share)
		require.LessOrEqual(t, logged, want[1], share)

		before = len(s.lines())
		for _, probe := range []string{"/livez", "/readyz", "/metrics"} {
			s.do("GET", probe, nil).is(t, http.StatusOK)
		}
		require.Len(t, s.lines(), before, "probes")
		s.do("GET", "/metrics", nil, "Authorization", "Bearer wrong").is(t, http.StatusUnauthorized)
		s.do("GET", "/v1/cache/none", nil).is(t, http.StatusNotFound)
		require.Len(t, s.lines(), before+2, "refusals and errors")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	limping := start(t, embedded(t), func(o *api.Options) {
		o.Ready = readiness.New(o.Log, 0, readiness.Check{Code: "keyring_unavailable", Degrades: true, Run: func(context.Context) error { return errors.New("pl4nted") }})
	})
	require.JSONEq(t, `{"status":"degraded","degraded":["keyring_unavailable"]}`, string(limping.do("GET", "/readyz", nil).is(t, 200).body))
	require.JSONEq(t, `{"status":"ok"}`, string(limping.do("GET", "/livez", nil).is(t, 200).body))
	for _, path := range []string{"/livez", "/readyz"} {
		got := s.do("GET", path, nil, "Authorization", "").is(t, http.StatusOK)
		require.JSONEq(t, `{"status":"ok"}`, string(got.body))
		require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		require.Empty(t, s.do("HEAD", path, nil).is(t, http.StatusOK).body)
	}
	down := start(t, &failing{panic: "ping"}, nil)
	down.do("GET", "/livez", nil).is(t, http.StatusOK)
	down.do("GET", "/readyz", nil).refused(t, "store_unavailable")
}

// /readyz lists the codes of failing checks. Only an operator also sees the causes.
func TestReadinessForOperators(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), func(o *api.Options) {
		o.Ready = readiness.New(o.Log, 0,
			readiness.Check{Code: "cache_not_shared", Degrades: true, Run: func(context.Context) error { return errors.New("another cache") }},
			readiness.Check{Code: "store_unavailable", Run: func(context.Context) error { return errors.New("the disk is gone") }},
		)
	})
	for name, bearer := range map[string]string{
		"nobody": "", "a tenant": s.token, "an auditor": s.issue(identity.EveryTenant, identity.AuditRead),
	} {
		got := s.do("GET", "/readyz", nil, "Authorization", "Bearer "+bearer)
		got.refused(t, "store_unavailable")
		require.NotContains(t, string(got.body), "the disk is gone", name)
	}
	s.do("GET", "/readyz", nil, "Authorization", "Bearer wrong").refused(t, "unauthorized")
	got := s.do("GET", "/readyz", nil, "Authorization", "Bearer "+s.issue(identity.EveryTenant, identity.KeysAdmin))
	checks := got.refused(t, "store_unavailable")["checks"].([]any)
	require.Len(t, checks, 2)
	require.Equal(t, "another cache", checks[0].(map[string]any)["detail"])
	require.Equal(t, "degraded", checks[0].(map[string]any)["effect"])
	require.Equal(t, "not_ready", checks[1].(map[string]any)["effect"])
}
