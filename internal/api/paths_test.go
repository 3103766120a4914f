package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// raw are the last parts of paths as sent over the wire. HTTP clients would normalize them.
var raw = []string{
	"%2e%2e", "..", "../..", "%2e%2e%2fx", "..%2f..%2fetc", ".", "./x", "a/../b", "a%2Fb", "%2f", "/", "//", "a//b", "%00", "a%00b", "%", "%zz", "%2", "a;b=1", "a%3fb", "%5c..%5c",
	"%c3%28", "%ff", "%F0%9F%94%91", "%e2%80%ae", "a%20b", "a+b", "%25%32%66", ":batch", "%3Abatch", "a#b", "é", strings.Repeat("%41", 2000), strings.Repeat("a/", 600),
}

// sendRaw sends a request line unchanged, and returns the response and its body.
func (s *service) sendRaw(t *testing.T, method, target, body string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, target, s.token, len(body), body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err, target)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err, target)
	return response, string(answer)
}

// No path causes a server error in any operation, and two paths name the same entry only if they decode to the same key.
func TestRawPaths(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	eachOperation(t, contract(t), func(t *testing.T, path, method string, _ *openapi3.Operation) {
		for _, end := range raw {
			target := strings.ReplaceAll(path, "{key}", end)
			if target == path {
				target += end
			}
			response, answer := s.sendRaw(t, method, target, "")
			require.Less(t, response.StatusCode, 500, "%s %s: %s", method, target, answer)
			require.NotContains(t, answer, strings.TrimPrefix(s.token, "coffer_"))
		}
	})
	stored := map[string]string{}
	for _, end := range raw {
		response, _ := s.sendRaw(t, "PUT", "/v1/cache/"+end+"?class=phi", end)
		if response.StatusCode != http.StatusNoContent {
			require.Contains(t, []int{400, 404, 405, 413}, response.StatusCode, end)
			continue
		}
		decoded, err := url.PathUnescape(end)
		require.NoError(t, err)
		stored[decoded] = end
	}
	require.Greater(t, len(stored), 15)
	var page struct{ Keys []string }
	require.NoError(t, json.Unmarshal(s.do("GET", "/v1/cache?limit=1000", nil).is(t, 200).body, &page))
	require.Len(t, page.Keys, len(stored))
	for _, key := range page.Keys {
		_, answer := s.sendRaw(t, "GET", "/v1/cache/"+stored[key], "")
		require.Equal(t, stored[key], answer)
	}
}
