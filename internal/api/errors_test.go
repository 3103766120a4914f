package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/there?class=phi", []byte("v")).is(t, 204)
	for _, path := range []string{"/v1/cache/there", "/v1/cache/none", "/v1/cache/", "/v1/cache/%FF", "/v1/unknown", "/v1", "/v1/", "/v1%2Fcache/there"} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "ODD"} {
			var details []any
			for _, header := range []string{
				"", "Bearer", "Bearer ", "Bearer x", "Bearer " + s.token + "x", "Bearer " + s.token[1:], "Basic " + s.token, s.token, "Bearer\t" + s.token,
			} {
				got := s.do(method, path, nil, "Authorization", header)
				details = append(details, got.refused(t, "unauthorized")["detail"])
				require.Equal(t, `Bearer realm="coffer"`, got.Header.Get("WWW-Authenticate"))
			}
			require.Len(t, unique(details), 1, "the answer tells nothing apart")
		}
		s.do("HEAD", path, nil, "Authorization", "Bearer x").is(t, 401)
	}
	for _, header := range []string{"bearer " + s.token, "BEARER  " + s.token} {
		s.do("GET", "/v1/cache/there", nil, "Authorization", header).is(t, 200)
	}
	request, err := http.NewRequest("GET", s.http.URL+"/v1/cache/there", nil)
	require.NoError(t, err)
	s.send(request).refused(t, "unauthorized")
	request.Header["Authorization"] = []string{"Bearer " + s.token, "Bearer " + s.token}
	s.send(request).refused(t, "unauthorized")
}

func unique(all []any) map[any]bool {
	out := map[any]bool{}
	for _, one := range all {
		out[one] = true
	}
	return out
}

func TestTokenReplacedWhileRunning(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
	tokens, err := s.tokens.List(t.Context())
	require.NoError(t, err)
	fresh, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: identity.DefaultTenant, Scopes: identity.AllScopes}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	_, err = s.tokens.Revoke(context.Background(), tokens[0].ID, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	s.do("GET", "/v1/cache/k", nil).refused(t, "unauthorized")
	s.token = fresh
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PATCH", "/livez", nil).refused(t, "method_not_allowed")
	for _, method := range []string{"POST", "TRACE", "ODD"} {
		for _, path := range []string{"/v1/cache/k", "/", "/livez", "/readyz"} {
			s.do(method, path, nil).refused(t, "method_not_allowed")
		}
	}
	allowed := s.do("POST", "/v1/cache/k", nil).Header.Get("Allow")
	for _, method := range []string{"PUT", "GET", "HEAD", "DELETE"} {
		require.Contains(t, allowed, method)
	}
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	large := make([]byte, maxBody+1)
	s.do("PUT", "/v1/cache/k?class=phi", large).refused(t, "too_large")

	chunked, err := http.NewRequest("PUT", s.http.URL+"/v1/cache/k?class=phi", io.MultiReader(bytes.NewReader(large)))
	require.NoError(t, err)
	chunked.Header.Set("Authorization", "Bearer "+s.token)
	require.Zero(t, chunked.ContentLength, "the client does not know the size")
	s.send(chunked).refused(t, "too_large")

	chunked.Body = io.NopCloser(io.MultiReader(bytes.NewReader(large[:maxBody])))
	s.send(chunked).is(t, 204)
	require.Len(t, s.do("GET", "/v1/cache/k", nil).is(t, 200).body, maxBody)
}

// raw sends text unchanged and reads one response.
func (s *service) raw(text string, thenClose bool) answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(s.t, err)
	defer conn.Close()
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
	_, err = io.WriteString(conn, text)
	require.NoError(s.t, err)
	if thenClose {
		require.NoError(s.t, conn.(*net.TCPConn).CloseWrite())
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(s.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return answer{response, body}
}

// If the server stops reading a body because of a shutdown, the error is not reported as the client's.
func TestUploadCutByShutdown(t *testing.T) {
	t.Parallel()
	s, received := startCounted(t, nil)
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT /v1/cache/k?class=phi HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Length: 10\r\n\r\nshort", s.token)
	require.NoError(t, err)
	soon(t, func() bool { return received.bytes.Load() == 5 })
	require.NoError(t, s.http.Config.Close()) // as when the time limit of a shutdown ends
	soon(t, func() bool { return len(s.lines()) == 1 })
	require.Equal(t, []any{"shutting_down", "INFO"}, []any{s.lines()[0]["code"], s.lines()[0]["level"]})
}

// The length is checked before memory is allocated for it, and a body that ends early is not stored.
func TestWrongContentLengthIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	put := func(length, body string) string {
		return "PUT /v1/cache/k?class=phi HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + s.token + "\r\nContent-Length: " + length + "\r\n\r\n" + body
	}
	s.raw(put("9223372036854775807", ""), false).refused(t, "too_large")
	s.raw(put(fmt.Sprint(maxBody+1), ""), false).refused(t, "too_large")
	s.raw(put("10", "short"), true).refused(t, "malformed")
	broken := strings.Replace(put("0", "zz\r\n"), "Content-Length: 0", "Transfer-Encoding: chunked", 1)
	s.raw(broken, false).refused(t, "malformed")
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
}

// The read timeout ends a request whose body stalls. No alarm is raised, because the client caused it.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := prepare(t, embedded(t), nil)
	s.http.Config.ReadHeaderTimeout, s.http.Config.ReadTimeout = time.Minute, 200*time.Millisecond
	s.http.Start()
	text := "PUT /v1/cache/k?class=phi HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + s.token + "\r\nContent-Length: 10\r\n\r\nslow"
	s.raw(text, false).refused(t, "timeout")
	soon(t, func() bool { return len(s.lines()) == 1 }) // the request is logged after the response was sent
	require.Equal(t, []any{"timeout", "INFO"}, []any{s.lines()[0]["code"], s.lines()[0]["level"]})
	require.Contains(t, string(s.do("GET", "/metrics", nil).body), `outcome="canceled"} 1`)
}

func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("GET", "/v1/cache/k", nil, "X-Huge", strings.Repeat("h", 2*api.MaxHeader)).is(t, http.StatusRequestHeaderFieldsTooLarge)

	// The largest context is accepted even if it is completely escaped. One byte more is refused.
	context := `{"k":"` + strings.Repeat(`\u0001`, format.MaxContext-5) + `"}`
	require.Less(t, len(context), api.MaxHeader)
	s.do("PUT", "/v1/cache/k?class=phi", nil, "Coffer-Context", context).is(t, 204)
	require.Equal(t, fmt.Sprint(len(context)), s.do("HEAD", "/v1/cache/k", nil).is(t, 200).Header.Get("Coffer-Context-Length"))
	require.Equal(t, context, string(s.do("GET", "/v1/cache/k?context=body", nil).is(t, 200).body))
	larger := strings.Replace(context, `"k"`, `"kk"`, 1)
	s.do("PUT", "/v1/cache/k?class=phi", nil, "Coffer-Context", larger).refused(t, "too_large")
	s.do("PUT", "/v1/cache/k?class=phi", nil, "Coffer-Context", `{"a":1}`).refused(t, "invalid_argument")
}

// The response to a server error has only its code. The log has the cause, with the request's id.
func TestServerFaultsHideCause(t *testing.T) {
	t.Parallel()
	secret := "planted-secret"
	for name, test := range map[string]struct {
		store  failing
		code   string
		logged string
	}{
		"store":        {failing{err: fmt.Errorf("dial: %w", kv.ErrUnavailable)}, "store_unavailable", "dial"},
		"unknown":      {failing{err: errors.New("odd")}, "internal", "odd"},
		"timeout":      {failing{wait: make(chan struct{}, 10)}, "timeout", "deadline"},
		"panic string": {failing{panic: secret}, "internal", "panic with a"},
		"panic error":  {failing{panic: errors.New(secret)}, "internal", "panic with a *errors.errorString at"},
		"panic nil":    {failing{panic: func() any { var m map[string]int; return recovered(func() { m["a"] = 1 }) }()}, "internal", "nil map"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, &test.store, func(o *api.Options) {
				if test.code == "timeout" {
					o.Timeout = 100 * time.Millisecond
				}
			})
			for _, got := range []answer{
				s.do("PUT", "/v1/cache/k?class=phi", nil), s.do("GET", "/v1/cache/k", nil), s.do("DELETE", "/v1/cache/k", nil),
				s.do("GET", "/v1/cache/k", nil, "Accept", packageType),
			} {
				problem := got.refused(t, test.code)
				require.NotContains(t, string(got.body), test.logged)
				require.Contains(t, s.log.String(), `"id":"`+problem["requestId"].(string)+`"`)
			}
			last := s.lines()[len(s.lines())-1]
			require.Equal(t, "ERROR", last["level"])
			require.Contains(t, last["error"], test.logged)
			require.NotContains(t, s.log.String(), secret)
			if test.store.panic != nil {
				require.Contains(t, last["error"], "failing).fail:", "where it happened")
			}
		})
	}
}

func recovered(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// A request that the client cancels is not counted as a server error.
func TestCanceledRequestIsNotAnError(t *testing.T) {
	t.Parallel()
	waits := make(chan struct{})
	s := start(t, &failing{wait: waits}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-waits
		cancel()
	}()
	request, err := http.NewRequestWithContext(ctx, "GET", s.http.URL+"/v1/cache/k", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+s.token)
	_, err = s.http.Client().Do(request)
	require.Error(t, err)
	soon(t, func() bool { return len(s.lines()) == 1 })
	require.EqualValues(t, 499, s.lines()[0]["status"])
	require.Equal(t, "INFO", s.lines()[0]["level"])
	require.Contains(t, string(s.do("GET", "/metrics", nil).body), `coffer_operations_total{class="none",operation="getEntry",outcome="canceled"} 1`)
}

// closedConnection is the connection of a client that closed it before it read the response.
type closedConnection struct{ *httptest.ResponseRecorder }

func (closedConnection) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A response that the client does not read to its end is not counted as a server error.
func TestUnreadResponseIsNotAnError(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("value")).is(t, http.StatusNoContent)
	for operation, request := range map[string]*http.Request{
		"getEntry":     httptest.NewRequest("GET", "/v1/cache/k", nil),
		"listEntries":  httptest.NewRequest("GET", "/v1/cache", nil),
		"batchEntries": httptest.NewRequest("POST", "/v1/cache:batch", strings.NewReader(`{"operations":[{"op":"get","key":"k"}]}`)),
	} {
		request.Header.Set("Authorization", "Bearer "+s.token)
		request.Header.Set("Content-Type", "application/json")
		s.http.Config.Handler.ServeHTTP(closedConnection{httptest.NewRecorder()}, request)
		line := s.lines()[len(s.lines())-1]
		require.EqualValues(t, 499, line["status"], operation)
		require.Equal(t, "INFO", line["level"], operation)
		require.NotContains(t, line, "code", operation)
		require.Regexp(t, `coffer_operations_total{class="\w+",operation="`+operation+`",outcome="canceled"} 1`, string(s.do("GET", "/metrics", nil).body))
	}
	require.NotContains(t, string(s.do("GET", "/metrics", nil).body), `outcome="internal"`)
}

// Requests fail with store_unavailable while Redis is down, and succeed without a restart when it is up again.
func TestRedisDownAndUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, err := rediskv.Open("redis://" + server.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := start(t, store, nil)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	s.do("GET", "/readyz", nil).is(t, 200)

	server.Stop()
	for _, method := range []string{"GET", "DELETE"} {
		s.do(method, "/v1/cache/k", nil).refused(t, "store_unavailable")
	}
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).refused(t, "store_unavailable")
	s.do("GET", "/readyz", nil).refused(t, "store_unavailable")
	s.do("GET", "/livez", nil).is(t, 200)

	server.Restart()
	soon(t, func() bool { return s.do("GET", "/readyz", nil).StatusCode == 200 })
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
	s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204)
	s.do("GET", "/v1/cache/k", nil).is(t, 200)
}

// The time limit of an operation does not include the transfer of the body.
func TestBodyDoesNotUseTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, err := rediskv.Open("redis://" + server.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	const limit = 2 * time.Second
	s := start(t, store, func(o *api.Options) { o.Timeout = limit })
	soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", nil).StatusCode == 204 }) // creates the key
	for _, length := range []int64{2, -1} {
		body, sent := io.Pipe()
		go func() {
			for range 2 {
				time.Sleep(limit * 5 / 8)
				_, _ = sent.Write([]byte("v"))
			}
			_ = sent.Close()
		}()
		request, err := http.NewRequestWithContext(t.Context(), "PUT", s.http.URL+"/v1/cache/k?class=phi", body)
		require.NoError(t, err)
		request.ContentLength = length
		request.Header.Set("Authorization", "Bearer "+s.token)
		got, err := s.http.Client().Do(request)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		require.Equal(t, 204, got.StatusCode)
	}
}

// If Redis does not reply, a request fails at its time limit and not later.
func TestRedisFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, err := rediskv.Open("redis://" + server.Addr + longTimeouts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := start(t, store, func(o *api.Options) { o.Timeout = 300 * time.Millisecond })
	soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).StatusCode == 204 })
	server.Freeze()
	began := time.Now()
	s.do("GET", "/v1/cache/k", nil).refused(t, "timeout")
	s.do("GET", "/readyz", nil).refused(t, "store_unavailable")
	require.Less(t, time.Since(began), time.Minute, "the client of Redis alone would try for longer")
	server.Thaw()
	soon(t, func() bool {
		got := s.do("GET", "/v1/cache/k", nil)
		return got.StatusCode == 200 && string(got.body) == "v"
	})
}
