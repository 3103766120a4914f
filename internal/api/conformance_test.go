package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
)

// checker compares responses, and requests that must be valid, with the document.
type checker struct {
	*service
	router routers.Router
	seen   map[string]bool // operations that were answered below 400
}

func init() { openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder) }

func newChecker(t *testing.T, s *service) *checker {
	t.Helper()
	router, err := gorillamux.NewRouter(contract(t))
	require.NoError(t, err)
	return &checker{s, router, map[string]bool{}}
}

func (k *checker) call(right bool, method, path string, body []byte, headers ...string) answer {
	k.t.Helper()
	got := k.do(method, path, body, headers...)
	request, err := http.NewRequest(method, path, bytes.NewReader(body))
	require.NoError(k.t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	route, parameters, err := k.router.FindRoute(request)
	require.NoError(k.t, err, method+" "+path)
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if right {
		require.NoError(k.t, openapi3filter.ValidateRequest(k.t.Context(), input))
		require.Less(k.t, got.StatusCode, 400, string(got.body))
		k.seen[route.Operation.OperationID] = true
	}
	if method == http.MethodHead {
		require.Empty(k.t, got.body)
	}
	require.NoError(k.t, openapi3filter.ValidateResponse(k.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: got.StatusCode, Header: got.Header, Body: io.NopCloser(bytes.NewReader(got.body)), Options: input.Options,
	}), "%s %s: %d %s", method, route.Operation.OperationID, got.StatusCode, got.body)
	require.NotEmpty(k.t, got.Header.Get("X-Request-Id"))
	return got
}

// changeKeys is service.changeKeys, checked against the document. If valid is true, the request must be valid and succeed.
func (k *checker) changeKeys(valid bool, bearer, verb string, body object) answer {
	k.t.Helper()
	path, text, headers := keyChange(k.t, bearer, verb, body)
	return k.call(valid, "POST", path, text, headers...)
}

func (k *checker) json(path string, document any) map[string]any {
	k.t.Helper()
	body, err := json.Marshal(document)
	require.NoError(k.t, err)
	var answered map[string]any
	require.NoError(k.t, json.Unmarshal(k.call(true, "POST", path, body, "Content-Type", "application/json").body, &answered))
	return answered
}

// Responses to valid and invalid requests match the document, for every operation.
func TestConformance(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		k := newChecker(t, s)
		conformCache(t, k)
		conformPackages(t, k)
		conformSessions(t, k)
		conformKeysets(t, k)
		conformEnding(t, k)
		conformEvents(t, k)
		for _, path := range []string{"/livez", "/readyz", "/v1/openapi.yaml", "/v1/docs"} {
			k.call(true, "GET", path, nil, "Authorization", "")
		}
		require.Contains(t, string(k.call(true, "GET", "/metrics", nil).body), `coffer_operations_total{class="phi",operation="putEntry",outcome="ok"}`)
		for _, id := range api.Operations() {
			require.True(t, k.seen[id], id)
		}
	})
}

func conformCache(t *testing.T, k *checker) {
	const path = "/v1/cache/patient%2F1"
	first := k.call(true, "PUT", path+"?class=phi&ttl=90", []byte("<b>"), "Content-Type", "text/html", "If-None-Match", "*").Header.Get("ETag")
	k.call(false, "PUT", path+"?class=phi", nil, "If-None-Match", "*").refused(t, "precondition_failed")
	got := k.call(true, "GET", path, nil)
	require.Equal(t, []string{"<b>", "text/html", first}, []string{string(got.body), got.Header.Get("Content-Type"), got.Header.Get("ETag")})
	require.Contains(t, got.Header.Get("Content-Security-Policy"), "sandbox")
	atRest := k.call(true, "GET", path, nil, "Accept", packageType).Header.Get("ETag")
	require.Equal(t, strings.TrimSuffix(first, `"`)+`-package"`, atRest)
	k.hasTTL(path, 90)
	for _, tag := range []string{first, atRest, "W/" + first, "*", `"x", ` + first} {
		k.call(true, "GET", path, nil, "If-None-Match", tag).is(t, 304)
		k.call(true, "HEAD", path, nil, "If-None-Match", tag).is(t, 304)
	}
	require.Equal(t, first, k.call(true, "PATCH", path+"?ttl=20m", nil, "If-Match", first).Header.Get("ETag"))
	k.hasTTL(path, 1200)
	k.call(false, "PATCH", path+"?ttl=24h1s", nil).refused(t, "ttl_out_of_range")
	k.call(false, "PATCH", path, nil).refused(t, "invalid_argument")
	second := k.call(true, "PUT", path+"?class=phi", []byte("<b>"), "If-Match", atRest).Header.Get("ETag")
	require.NotEqual(t, first, second)
	for _, method := range []string{"PUT", "GET", "PATCH", "DELETE"} {
		for _, tag := range []string{first, "W/" + second, `""`} {
			k.call(false, method, path+map[string]string{"PUT": "?class=phi", "PATCH": "?ttl=1m"}[method], nil, "If-Match", tag).refused(t, "precondition_failed")
		}
		k.call(false, method, path+map[string]string{"PUT": "?class=phi", "PATCH": "?ttl=1m"}[method], nil, "If-Match", "junk").refused(t, "invalid_argument")
	}
	for _, condition := range []string{"*", second} {
		k.call(false, "DELETE", path, nil, "If-None-Match", condition).refused(t, "invalid_argument")
		k.call(false, "PATCH", path+"?ttl=1m", nil, "If-None-Match", condition).refused(t, "invalid_argument")
	}
	k.call(true, "DELETE", path, nil, "If-Match", second)
	require.Equal(t, "not_found", k.call(false, "HEAD", path, nil).is(t, 404).Header.Get("Coffer-Code"))
	conformMany(t, k)
}

// hasTTL requires that an entry expires after about the given seconds.
func (k *checker) hasTTL(path string, seconds int) {
	k.t.Helper()
	requireTTL(k.t, k.call(true, "HEAD", path, nil), seconds)
}

func requireTTL(t *testing.T, got answer, seconds int) {
	t.Helper()
	left, err := strconv.Atoi(got.Header.Get("Coffer-TTL"))
	require.NoError(t, err)
	require.LessOrEqual(t, left, seconds)
	require.Greater(t, left, seconds-60)
}

func conformMany(t *testing.T, k *checker) {
	var operations []any
	for i := range 5 {
		operations = append(operations, map[string]any{"op": "set", "key": fmt.Sprint("list/", i), "value": "djE=", "class": "phi", "ttl": "1h", "contentType": "text/plain", "context": map[string]string{"i": "é"}})
	}
	operations = append(operations, map[string]any{"op": "get", "key": "list/0", "minClass": "phi"}, map[string]any{"op": "get", "key": "none"},
		map[string]any{"op": "delete", "key": "list/0"}, map[string]any{"op": "delete", "key": "list/0"}, map[string]any{"op": "set", "key": "k", "value": "", "class": "phi", "ttl": "25h"})
	results := k.json("/v1/cache:batch", map[string]any{"operations": operations})["results"].([]any)
	var statuses []float64
	for _, r := range results {
		statuses = append(statuses, r.(map[string]any)["status"].(float64))
	}
	require.Equal(t, []float64{204, 204, 204, 204, 204, 200, 404, 204, 404, 400}, statuses)
	entry := results[5].(map[string]any)["entry"].(map[string]any)
	require.Equal(t, []any{"djE=", "text/plain", "phi", map[string]any{"i": "é"}}, []any{entry["value"], entry["contentType"], entry["class"], entry["context"]})

	keys, cursor := map[string]bool{}, ""
	for {
		var page struct {
			Keys   []string
			Cursor string
		}
		path := "/v1/cache?limit=1&prefix=list%2F"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		require.NoError(t, json.Unmarshal(k.call(true, "GET", path, nil).body, &page))
		for _, key := range page.Keys {
			keys[key] = true
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	require.Equal(t, map[string]bool{"list/1": true, "list/2": true, "list/3": true, "list/4": true}, keys)
	k.call(false, "GET", "/v1/cache?cursor=bm9uZQ", nil).refused(t, "invalid_argument")
}

func conformPackages(t *testing.T, k *checker) {
	sealed := k.json("/v1/encrypt", map[string]any{"text": "é<&>", "class": "phi", "context": map[string]string{"a": "b"}})
	opened := k.json("/v1/decrypt?min_class=phi", sealed)
	require.Equal(t, []any{"é<&>", "text", "phi", map[string]any{"a": "b"}}, []any{opened["text"], opened["valueType"], opened["class"], opened["context"]})
	many := k.json("/v1/encrypt:batch", map[string]any{"items": []any{map[string]any{"data": "", "class": "public"}, map[string]any{"text": "", "class": "pii"}}})["results"].([]any)
	var items []any
	for _, one := range many {
		items = append(items, one.(map[string]any)["package"])
	}
	passphrase := map[string]any{}
	text, err := json.Marshal(sealed)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte(`"keySource":"keyset"`), []byte(`"keySource":"passphrase","iterations":600000`), 1)
	require.NoError(t, json.Unmarshal(text, &passphrase))
	results := k.json("/v1/decrypt:batch", map[string]any{"items": append(items, passphrase)})["results"].([]any)
	require.Equal(t, "", results[0].(map[string]any)["opened"].(map[string]any)["data"])
	require.Equal(t, "", results[1].(map[string]any)["opened"].(map[string]any)["text"])
	require.Equal(t, "unknown_key", results[2].(map[string]any)["code"])
	k.call(false, "POST", "/v1/decrypt", text, "Content-Type", "application/json").refused(t, "unknown_key")
	k.audit.take()
	forged := bytes.Replace(text, []byte(`"keySource":"passphrase","iterations":600000`), []byte(`"keySource":"keyset"`), 1)
	forged = bytes.Replace(forged, []byte(`"a":"b"`), []byte(`"a":"c"`), 1)
	k.call(false, "POST", "/v1/decrypt", forged, "Content-Type", "application/json").refused(t, "authentication_failed")
	require.Equal(t, "critical", string(k.audit.take()[0].Severity()))
	for _, body := range []string{
		`{"text":"x","class":"phi","class":"public"}`, `{"text":"x","Class":"phi"}`, `{"text":null,"class":"phi"}`, `{"text":"x","data":"eA==","class":"phi"}`,
		`{"text":"x","class":"phi","more":1}`, `{"data":"eA","class":"phi"}`, `{"class":"phi"}`, `[]`, `null`, `{"text":"x","class":"phi","context":{"a":1}}`,
	} {
		k.call(false, "POST", "/v1/encrypt", []byte(body), "Content-Type", "application/json").refused(t, "invalid_argument")
	}
	for _, body := range []string{``, `{`, `{"text":"\ud800","class":"phi"}`, "{\"text\":\"\xff\",\"class\":\"phi\"}", `{}{}`} {
		k.call(false, "POST", "/v1/encrypt", []byte(body), "Content-Type", "application/json").refused(t, "malformed")
	}
	k.call(false, "POST", "/v1/encrypt", []byte(`{"text":"x","class":"phi"}`), "Content-Type", "text/plain").refused(t, "invalid_argument")
}

func conformSessions(t *testing.T, k *checker) {
	made := k.json("/v1/sessions", map[string]any{"data": map[string]any{"user": "u", "n": []int{1}}, "ttl": "30m"})
	const path = "/v1/session"
	id := made["id"].(string)
	var got map[string]any
	require.NoError(t, json.Unmarshal(k.call(true, "GET", path, nil, "Coffer-Session", id).body, &got))
	require.Equal(t, map[string]any{"user": "u", "n": []any{1.0}}, got["data"])
	require.Equal(t, made["createdAt"], got["createdAt"])
	require.NoError(t, json.Unmarshal(k.call(true, "PATCH", path+"?ttl=2h", nil, "Coffer-Session", id).body, &got))
	expires, err := time.Parse(time.RFC3339, got["expiresAt"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), expires, time.Minute)
	k.call(false, "PATCH", path+"?ttl=24h1s", nil, "Coffer-Session", id).refused(t, "ttl_out_of_range")
	other, _, err := k.tokens.Issue(context.Background(), token.Grant{Tenant: "other", Scopes: identity.AllScopes}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	k.call(false, "GET", path, nil, "Coffer-Session", id, "Authorization", "Bearer "+other).refused(t, "not_found")
	k.call(true, "DELETE", path, nil, "Coffer-Session", id, "Authorization", "Bearer "+other)
	k.call(true, "GET", path, nil, "Coffer-Session", id)
	keys, _, err := k.store.Scan(t.Context(), "", "", 0)
	require.NoError(t, err)
	require.NotContains(t, strings.Join(keys, " "), id)
	k.call(true, "DELETE", path, nil, "Coffer-Session", id)
	k.call(true, "DELETE", path, nil, "Coffer-Session", id)
	k.call(false, "GET", path, nil, "Coffer-Session", id).refused(t, "not_found")
	for _, wrong := range []string{"", id[1:], id + "A", id + "," + id} {
		k.call(false, "GET", path, nil, "Coffer-Session", wrong).refused(t, "invalid_argument")
	}
	k.call(false, "GET", path, nil).refused(t, "invalid_argument")
	k.call(false, "POST", "/v1/sessions", []byte(`{"data":{"a":"`+strings.Repeat("x", 65536)+`"}}`), "Content-Type", "application/json").refused(t, "too_large")
	k.call(false, "POST", "/v1/sessions", []byte(`{"data":[]}`), "Content-Type", "application/json").refused(t, "invalid_argument")
}

// pathOf fills the parameters of a path of the document.
func pathOf(path, key string) string {
	return strings.NewReplacer("{key}", url.PathEscape(key)).Replace(path)
}

// Each operation requires exactly the scope that the document names. A refusal does not depend on which entries exist in
// which tenant.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/there?class=phi", []byte("v")).is(t, 204)
	d := contract(t)
	for _, tenant := range []string{"default", "other", identity.EveryTenant} {
		for _, name := range identity.AllScopes.Names() {
			scope, _ := identity.ParseScope(name)
			if !identity.ValidGrant(tenant, scope) {
				continue
			}
			text, issued, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: tenant, Scopes: scope}, token.Audit{Recorder: audit.Discard})
			require.NoError(t, err)
			eachOperation(t, d, func(t *testing.T, path, method string, o *openapi3.Operation) {
				needs := scopesOf(t, o)
				allowed := len(needs) == 0
				for _, one := range needs {
					allowed = allowed || one == name
				}
				answers := map[string]bool{}
				s.audit.take()
				for _, key := range []string{"there", "none", "", "\xff"} {
					got := s.do(method, pathOf(path, key)+"?odd=1", nil, "Authorization", "Bearer "+text)
					require.Equal(t, !allowed, got.StatusCode == http.StatusForbidden, "%s with %s: %d", o.OperationID, name, got.StatusCode)
					if !allowed {
						answers[string(bytes.ReplaceAll(got.body, []byte(got.Header.Get("X-Request-Id")), nil))] = true
					}
				}
				if events := s.audit.take(); !allowed {
					require.Len(t, events, 1, "the others are summarised")
					require.Equal(t, []string{"forbidden", issued.ID, tenant, "access.refused"}, []string{events[0].Code, events[0].Subject, events[0].Tenant, events[0].Action.String()})
				}
				require.Equal(t, !allowed, len(answers) == 1)
			})
			body := `{"operations":[{"op":"delete","key":"there"},{"op":"get","key":"there"}]}`
			s.do("POST", "/v1/cache:batch", []byte(body), "Authorization", "Bearer "+text, "Content-Type", "application/json").refused(t, "forbidden")
		}
		if tenant == identity.EveryTenant {
			continue
		}
		all, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: tenant, Scopes: identity.AllScopes}, token.Audit{Recorder: audit.Discard})
		require.NoError(t, err)
		status := map[string]int{"default": 200, "other": 404}[tenant]
		s.do("GET", "/v1/cache/there", nil, "Authorization", "Bearer "+all).is(t, status)
	}
}

// For random input, every operation returns in time a response that the document allows, and never a server error.
func TestRandomRequestsMatchDocument(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	k := newChecker(t, s)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	junk := func() string {
		return pick("", "x", "..", "../..", "%00", "a/b", "\u202e", "é", "1", "-1", "1e9", "99999999999999999999", "null", "true", "phi", "*", `"x"`, "1h", "0s",
			strings.Repeat("y", 1024), strings.Repeat("z", 5000), base64.StdEncoding.EncodeToString([]byte("value")))
	}
	var value func(depth int) any
	value = func(depth int) any {
		switch n := random.IntN(7); {
		case n < 3 || depth > 3:
			return junk()
		case n == 3:
			return random.NormFloat64()
		case n == 4:
			return nil
		case n == 5:
			return []any{value(depth + 1), value(depth + 1)}
		}
		m := map[string]any{}
		for range random.IntN(5) {
			m[pick("text", "data", "class", "context", "items", "operations", "op", "key", "value", "ttl", "minClass", "ciphertext", "metadata", "tenant", "use", "confirm", "reason", junk())] = value(depth + 1)
		}
		return m
	}
	eachOperation(t, contract(t), func(t *testing.T, path, method string, o *openapi3.Operation) {
		k.t = t
		rounds := 60
		if len(scopesOf(t, o)) == 0 {
			rounds = 10 // for a page, which ignores its input
		}
		for range rounds {
			query := url.Values{}
			for range random.IntN(3) {
				query.Add(pick("class", "ttl", "min_class", "prefix", "cursor", "limit", "tenant", junk()), junk())
			}
			body, err := json.Marshal(value(0))
			require.NoError(t, err)
			headers := []string{"Content-Type", pick("application/json", "application/json; charset=utf-8", "text/plain", strings.Repeat("t", 300))}
			if random.IntN(2) == 0 {
				headers = append(headers, pick("If-Match", "If-None-Match", "Coffer-Context", "Coffer-Session", "Accept", "X-Request-Id", "Content-Encoding"), pick("*", `"x"`, "W/", packageType, `{"a":"b"}`, strings.Repeat("h", 6000)))
			}
			key := junk()
			if key == "" {
				key = "k"
			}
			got := k.call(false, method, strings.NewReplacer("{key}", url.PathEscape(key)).Replace(path)+"?"+query.Encode(), body, headers...)
			require.Less(t, got.StatusCode, 500, string(got.body))
		}
	})
}
