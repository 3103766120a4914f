package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// still is a clock that does not advance.
func still() func() time.Time {
	now := time.Now()
	return func() time.Time { return now }
}

// A tenant over its request limit must wait as long as Retry-After says. Other tenants are served.
func TestRequestLimitOfTenant(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), func(o *api.Options) { o.Limits = limit.NewTenants(limit.Quota{Rate: 0.1, Burst: 2}, still()) })
	for range 2 {
		s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
	}
	s.audit.take()
	got := s.do("GET", "/v1/cache/k", nil)
	got.refused(t, "rate_limited")
	require.Equal(t, "10", got.Header.Get("Retry-After"))
	require.Equal(t, "rate_limited", s.audit.take()[0].Code)
	other, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: "other", Scopes: identity.CacheRead}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer "+other).refused(t, "not_found")
	s.do("GET", "/livez", nil).is(t, 200)
}

// An address that sends too many wrong tokens gets rate_limited. Behind a trusted proxy, only that client does. A request with
// a valid token is still served, and a request without a token does not count.
func TestTooManyWrongTokensMustWait(t *testing.T) {
	t.Parallel()
	for proxy, other := range map[string]string{"127.0.0.0/8": "unauthorized", "10.0.0.0/8": "rate_limited"} {
		s := start(t, embedded(t), func(o *api.Options) {
			o.Failures, o.TrustedProxies = limit.NewFailures(2, still()), []netip.Prefix{netip.MustParsePrefix(proxy)}
		})
		for range 20 {
			s.do("GET", "/v1/cache/k", nil, "Authorization", "", "X-Forwarded-For", "192.0.2.1:1234").refused(t, "unauthorized")
		}
		for range 3 {
			s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer x", "X-Forwarded-For", "192.0.2.1").refused(t, "unauthorized")
		}
		got := s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer x", "X-Forwarded-For", "192.0.2.1:1234")
		require.Contains(t, got.refused(t, "rate_limited")["detail"], "too many wrong tokens came from this address")
		require.Equal(t, "1", got.Header.Get("Retry-After"))
		s.do("GET", "/v1/cache/k", nil, "X-Forwarded-For", "192.0.2.1").refused(t, "not_found")
		s.do("GET", "/v1/cache/k", nil, "Authorization", "", "X-Forwarded-For", "192.0.2.1").refused(t, "unauthorized")
		s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer x", "X-Forwarded-For", "192.0.2.2").refused(t, other)
	}
}

// A right token that lacks a scope does not count as a wrong one.
func TestMissingScopeDoesNotCountAsWrongToken(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), func(o *api.Options) { o.Failures = limit.NewFailures(1, still()) })
	reader, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: "clinic", Scopes: identity.CacheRead}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	for range 20 {
		s.do("DELETE", "/v1/cache/k", nil, "Authorization", "Bearer "+reader).refused(t, "forbidden")
	}
	s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer x").refused(t, "unauthorized")
}

// The address of a refused request is in the log and in the audit event; that of any other request is in neither.
func TestRefusalRecordsClientAddress(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), func(o *api.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	const address = "2001:db8::7"
	forwarded := []string{"X-Forwarded-For", "[" + address + "]:443"}
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v"), forwarded...).is(t, 204)
	s.do("GET", "/v1/cache/none", nil, forwarded...).refused(t, "not_found")
	require.NotContains(t, s.log.String(), address)
	for _, e := range s.audit.take() {
		require.Empty(t, e.Facts)
	}
	for range 2 {
		s.do("GET", "/v1/cache/k", nil, append(forwarded, "Authorization", "Bearer x")...).refused(t, "unauthorized")
	}
	events := s.audit.take()
	require.Len(t, events, 1, "the second is summarised")
	require.Equal(t, audit.Facts{audit.FactClient: address}, events[0].Facts)
	require.Equal(t, address, s.lines()[len(s.lines())-1]["client"])
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const page = "https://app.example.com"
	s := start(t, embedded(t), func(o *api.Options) { o.AllowedOrigins = []string{page} })
	asked := s.do("OPTIONS", "/v1/cache/k", nil, "Origin", page, "Access-Control-Request-Method", "PUT", "Authorization", "").is(t, 204)
	require.Equal(t, page, asked.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, asked.Header.Get("Access-Control-Allow-Methods"), "PATCH")
	require.Contains(t, asked.Header.Get("Access-Control-Allow-Headers"), "If-Match")
	require.Empty(t, asked.Header.Get("Access-Control-Allow-Credentials"))
	for _, got := range []answer{s.do("GET", "/v1/cache/k", nil, "Origin", page), s.do("GET", "/v1/cache/k", nil, "Origin", page, "Authorization", "")} {
		require.Equal(t, page, got.Header.Get("Access-Control-Allow-Origin"))
		require.Contains(t, got.Header.Get("Access-Control-Expose-Headers"), "ETag")
		require.Contains(t, got.Header.Values("Vary"), "Origin")
	}
	for _, origin := range []string{"https://app.example.com.evil.example", "http://app.example.com", "null", "https://APP.example.com"} {
		got := s.do("OPTIONS", "/v1/cache/k", nil, "Origin", origin, "Access-Control-Request-Method", "PUT", "Authorization", "")
		got.refused(t, "unauthorized")
		require.Empty(t, got.Header.Get("Access-Control-Allow-Origin"))
	}
}

// Without its audit log the server stores, answers and deletes no entry. Pages that concern no data are answered.
func TestNothingIsReturnedWithoutAudit(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		s.do("PUT", "/v1/cache/k?class=phi", []byte("kept")).is(t, 204)
		sealed := s.do("POST", "/v1/encrypt", []byte(`{"text":"x","class":"phi"}`), "Content-Type", "application/json").is(t, 200).body
		s.audit.fail(audit.ErrUnavailable)
		s.do("PUT", "/v1/cache/k?class=phi", []byte("lost")).refused(t, "audit_unavailable")
		got := s.do("GET", "/v1/cache/k", nil)
		got.refused(t, "audit_unavailable")
		require.NotContains(t, string(got.body), "kept")
		for path, body := range map[string]string{"/v1/encrypt": `{"text":"x","class":"phi"}`, "/v1/decrypt": string(sealed), "/v1/sessions": `{"data":{}}`} {
			s.do("POST", path, []byte(body), "Content-Type", "application/json").refused(t, "audit_unavailable")
		}
		s.do("HEAD", "/v1/cache/k", nil).is(t, 503)
		s.do("GET", "/v1/cache", nil).refused(t, "audit_unavailable")
		s.do("DELETE", "/v1/cache/k", nil).refused(t, "audit_unavailable")
		s.do("GET", "/v1/docs", nil).is(t, 200)
		s.do("GET", "/v1/cache/k", nil, "Authorization", "").refused(t, "unauthorized")
		s.audit.fail(nil)
		require.Equal(t, "kept", string(s.do("GET", "/v1/cache/k", nil).is(t, 200).body))
	})
}

// The event about an altered package has the key and the context that the package claims.
func TestAlteredPackagesAreAudited(t *testing.T) {
	s := start(t, embedded(t), nil)
	sealed := s.do("POST", "/v1/encrypt", []byte(`{"text":"v","class":"phi","context":{"a":"b"}}`), "Content-Type", "application/json").is(t, 200).body
	key := s.audit.take()[0].KeyID
	altered := bytes.Replace(sealed, []byte(`"a":"b"`), []byte(`"a":"c"`), 1)
	s.do("POST", "/v1/decrypt", altered, "Content-Type", "application/json").refused(t, "authentication_failed")
	s.do("POST", "/v1/decrypt", []byte(`{"ciphertext":"","metadata":{}}`), "Content-Type", "application/json").refused(t, "malformed")
	events := s.audit.take()
	require.Equal(t, []any{key, classify.PHI, map[string]string{"a": "c"}, "authentication_failed"}, []any{events[0].KeyID, events[0].Class, events[0].Context, events[0].Code})
	require.Equal(t, "malformed", events[1].Code)
	require.Contains(t, string(s.do("GET", "/metrics", nil).is(t, 200).body), `coffer_integrity_failures_total{class="phi"} 1`)
}

// Each use of a key is recorded once, with the caller and the purpose.
func TestKeyUsesAreAudited(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v"), "Coffer-Context", `{"a":"b"}`).is(t, 204)
	got := s.do("GET", "/v1/cache/k", nil).is(t, 200)
	events := s.audit.take()
	require.Len(t, events, 2)
	require.Equal(t, []audit.Action{audit.KeySeal, audit.KeyOpen}, []audit.Action{events[0].Action, events[1].Action})
	require.Equal(t, events[0].KeyID, events[1].KeyID)
	require.Equal(t, []any{"getEntry", "default", "k", classify.PHI, identity.APIToken, map[string]string{"a": "b"}, got.Header.Get("X-Request-Id")},
		[]any{events[1].Operation, events[1].Tenant, events[1].Name, events[1].Class, events[1].Issuer, events[1].Context, events[1].RequestID})
	s.do("PUT", "/v1/cache/k?class=phi&ttl=25h", nil).refused(t, "ttl_out_of_range")
	require.Empty(t, s.audit.take(), "no key was used")
	pkg, _, err := kv.Get(t.Context(), s.store, stored("k"))
	require.NoError(t, err)
	require.NoError(t, kv.Set(t.Context(), s.store, stored("moved"), pkg, 0))
	s.do("GET", "/v1/cache/moved", nil).refused(t, "authentication_failed")
	events = s.audit.take()
	require.Len(t, events, 1)
	require.Equal(t, audit.Critical, events[0].Severity())
	require.Equal(t, "moved", events[0].Name)
	require.Contains(t, string(s.do("GET", "/metrics", nil).body), `coffer_integrity_failures_total{class="phi"} 1`)
}

// The metrics count operations, and contain no tenant, key or value.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/pl4nted?class=phi", []byte("pl4nted")).is(t, 204)
	s.do("GET", "/v1/cache/pl4nted", nil).is(t, 200)
	s.do("GET", "/v1/cache/pl4nted-not", nil).refused(t, "not_found")
	s.do("GET", "/metrics?x=1", nil).refused(t, "invalid_argument")
	got := s.do("GET", "/metrics", nil).is(t, http.StatusOK)
	require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	for _, line := range []string{
		`coffer_operations_total{class="phi",operation="getEntry",outcome="ok"} 1`, `coffer_operations_total{class="none",operation="getEntry",outcome="not_found"} 1`,
		`coffer_cache_lookups_total{result="hit"} 1`, `coffer_cache_lookups_total{result="miss"} 1`,
		`coffer_key_uses_total{action="seal",class="phi"} 1`, `coffer_key_uses_total{action="open",class="phi"} 1`,
	} {
		require.Contains(t, string(got.body), line)
	}
	require.NotContains(t, string(got.body), "pl4nted")
	require.NotContains(t, string(got.body), strings.TrimPrefix(s.token, "coffer_"))
	s.do("GET", "/metrics", nil, "Authorization", "").refused(t, "unauthorized")
}

// A forged cursor, or one of another tenant, never lists the keys of another tenant.
func TestCursorOfAnotherStoreIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, s *service) {
		for _, name := range []string{"a", "patient:ada", "z"} {
			s.do("PUT", "/v1/cache/"+name+"?class=phi", []byte("x")).is(t, http.StatusNoContent)
		}
		for _, tenant := range []string{"a-tenant", "zz-tenant"} {
			other, _, err := s.tokens.Issue(t.Context(), token.Grant{Tenant: tenant, Scopes: identity.CacheRead}, token.Audit{Recorder: audit.Discard})
			require.NoError(t, err)
			for _, cursor := range []string{"k", "kcoffer/", "kcoffer/default/cache/", "kcoffer/default/cache/a", "0@@@0"} {
				got := s.do("GET", "/v1/cache?cursor="+base64.RawURLEncoding.EncodeToString([]byte(cursor)), nil, "Authorization", "Bearer "+other)
				require.NotContains(t, string(got.body), "ada", "cursor %q", cursor)
				if got.StatusCode != http.StatusOK {
					got.refused(t, "invalid_argument")
				}
			}
		}
	})
}
