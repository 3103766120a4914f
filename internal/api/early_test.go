package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
)

// A refusal comes while the body is still being sent, and a client that first sends everything gets it, too. The server reads
// the body slowly if the request may be part of a flood.
func TestRefusalReachesClientThatStillSends(t *testing.T) {
	t.Parallel()
	const size = 16 << 20 // more than the buffers of both ends hold
	tight := start(t, embedded(t), func(o *api.Options) { o.MaxBody, o.Memory = size, limit.NewMemory(1<<20, 1<<20) })
	s := start(t, embedded(t), func(o *api.Options) {
		o.MaxBody, o.Failures, o.RefusalDelay = size/2, limit.NewFailures(0, still()), time.Millisecond
	})
	s.do("GET", "/v1/cache/k", nil, "Authorization", "Bearer x").refused(t, "unauthorized") // the next wrong token exceeds the limit
	reader, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: "clinic", Scopes: identity.CacheRead}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		s                   *service
		token, target, code string
	}{
		"no token":       {s, "", "/v1/cache/k?class=phi", "unauthorized"},
		"a wrong token":  {s, "x", "/v1/cache/k?class=phi", "rate_limited"},
		"no scope":       {s, reader, "/v1/cache/k?class=phi", "forbidden"},
		"no class":       {s, s.token, "/v1/cache/k", "invalid_argument"},
		"no such method": {s, s.token, "/v1/cache", "method_not_allowed"},
		"too large":      {s, s.token, "/v1/cache/k?class=phi", "too_large"},
		"no more memory": {tight, tight.token, "/v1/cache/k?class=phi", "rate_limited"},
	} {
		for _, framing := range []string{"Content-Length: %d", "Transfer-Encoding: chunked"} {
			for _, readsFirst := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", ", framing[:8], ", reads first: ", readsFirst), func(t *testing.T) {
					begun := time.Now()
					got := c.s.upload(t, c.token, c.target, framing, size, readsFirst)
					got.refused(t, c.code)
					if c.token == "" || c.token == "x" {
						require.Greater(t, time.Since(begun), time.Second/2) // neither end has buffered the last half of the body
					}
					require.True(t, got.Close)
				})
			}
		}
	}
}

// upload sends a body in pieces, and reads the response either before or after it has sent the last piece.
func (s *service) upload(t *testing.T, token, target, framing string, size int, readsFirst bool) answer {
	t.Helper()
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
	chunked := !strings.Contains(framing, "%d")
	if !chunked {
		framing = fmt.Sprintf(framing, size)
	}
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", target, token, framing)
	require.NoError(t, err)
	const piece = 1 << 20
	send := func() {
		text := strings.Repeat("x", piece)
		if chunked {
			text = fmt.Sprintf("%x\r\n%s\r\n", piece, text)
		}
		_, err := io.WriteString(conn, text)
		require.NoError(t, err, "the connection was reset under the sender")
	}
	sent := 0
	for ; sent < size-piece; sent += piece {
		send()
	}
	from := bufio.NewReader(conn)
	if readsFirst {
		_, err = from.Peek(1)
		require.NoError(t, err)
	}
	send()
	response, err := http.ReadResponse(from, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response, body}
}

// A refusal does not wait for a small body either, and the connection can be used again.
func TestRefusalBeforeSmallBody(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	in, body := bufio.NewReader(conn), strings.Repeat("x", 1000)
	for range 3 {
		_, err = fmt.Fprintf(conn, "PUT /v1/cache/k?class=phi HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:500])
		require.NoError(t, err)
		response, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, response.StatusCode)
		require.False(t, response.Close)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		_, err = io.WriteString(conn, body[500:])
		require.NoError(t, err)
	}
}

// A client that sends "Expect: 100-continue" is refused before it sends the body.
func TestRefusalInsteadOfContinue(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	got := s.raw("PUT /v1/cache/k?class=phi HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nAuthorization: Bearer "+s.token+
		"\r\nContent-Length: 5000000\r\n\r\n", false)
	got.refused(t, "too_large")
}

// A request with a length and chunks ends its connection, whatever is answered (RFC 9112 section 6.1): a proxy may
// have taken the bytes behind the chunks for a part of its body.
func TestConnectionClosesAfterTransferEncoding(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for _, line := range []string{"PUT /v1/cache/k?class=phi", "GET /v1/cache/k", "PUT /v1/cache/k", "POST /v1/none", "GET /livez", "GET /", "PATCH /livez", "POST /v1/encrypt"} {
		for _, bearer := range []string{s.token, "x"} {
			t.Run(line+" "+bearer[:1], func(t *testing.T) {
				conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
				_, err = io.WriteString(conn, line+" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+bearer+
					"\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: smuggled\r\n\r\n")
				require.NoError(t, err)
				text, err := io.ReadAll(conn)
				require.NoError(t, err)
				require.Equal(t, 1, strings.Count(string(text), "HTTP/1.1 "), "%s", text)
				require.Contains(t, string(text), "\r\nConnection: close\r\n")
			})
		}
	}
}

// An HTTP/1.0 request ends its connection even if it asks to keep it: net/http hides whether it had a Transfer-Encoding.
func TestConnectionClosesAfterHTTP10(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for _, length := range []string{"", "Content-Length: 5\r\n"} {
		conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
		_, err = io.WriteString(conn, "PUT /v1/cache/k?class=phi HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nAuthorization: Bearer "+s.token+
			"\r\nTransfer-Encoding: chunked\r\n"+length+"\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: smuggled\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), "HTTP/1."), "%s", text)
		require.NotContains(t, string(text), "keep-alive")
	}
}

// During a shutdown every response closes its connection. Before that, no response does.
func TestShutdownClosesConnections(t *testing.T) {
	t.Parallel()
	ending, end := context.WithCancel(t.Context())
	defer end()
	s := start(t, embedded(t), func(o *api.Options) { o.Shutdown = ending })
	for _, closes := range []bool{false, true} {
		if closes {
			end()
		}
		for _, got := range []answer{
			s.do("PUT", "/v1/cache/k?class=phi", []byte("v")).is(t, 204), s.do("GET", "/v1/cache/k", nil).is(t, 200), s.do("HEAD", "/v1/cache/k", nil).is(t, 200),
			s.do("GET", "/v1/cache/none", nil).is(t, 404), s.do("GET", "/metrics", nil).is(t, 200), s.do("GET", "/livez", nil).is(t, 200),
			s.do("GET", "/v1/docs", nil).is(t, 200), s.do("GET", "/v1/cache/k", nil, "Authorization", "").is(t, 401), s.do("PATCH", "/livez", nil).is(t, 405),
			s.do("GET", "/v1/cache", nil).is(t, 200),
		} {
			require.Equal(t, closes, got.Close, got.Request.URL.Path)
		}
	}
}

// The time to live is reported in whole seconds and is at least 1, however short it is.
func TestWriteReturnsTTL(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for ttl, want := range map[string]string{"1ns": "1", "1ms": "1", "1s": "1", "1001ms": "2", "1h": "3600", "9223372036s": "9223372036", "9223372036854775807ns": "9223372037"} {
		require.Equal(t, want, s.do("PUT", "/v1/cache/k?class=public&ttl="+ttl, []byte("v")).is(t, 204).Header.Get("Coffer-TTL"), ttl)
	}
	s.do("PUT", "/v1/cache/k?class=public", []byte("v")).is(t, 204)
	require.Equal(t, "1", s.do("PATCH", "/v1/cache/k?ttl=1ns", nil).is(t, 204).Header.Get("Coffer-TTL"))
}
