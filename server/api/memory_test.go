package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/api"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/limit"
	"github.com/coffer-storage/coffer/server/token"
)

const megabyte = 1 << 20

// stalled begins an upload of a megabyte, sends n bytes of it and no more.
func stalled(t *testing.T, s *service, n int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT /v1/cache/stalled?class=phi HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		s.token, megabyte, strings.Repeat("x", n))
	require.NoError(t, err)
	return conn
}

// waitUntilHeld waits until so much is held that there is no room for more of a tenant.
func waitUntilHeld(t *testing.T, memory *limit.Bytes, tenant string) {
	t.Helper()
	require.Eventually(t, func() bool {
		if memory.Take(tenant, 1) != nil {
			return true
		}
		memory.Give(tenant, 1)
		return false
	}, 10*time.Second, time.Millisecond)
}

// Uploads that stall hold what they sent and no more; when all may hold no more, large requests wait and small ones go on.
func TestMemoryOfUploads(t *testing.T) {
	memory := limit.NewBytes(6*megabyte, 0)
	s := start(t, badger(t), func(o *api.Options) { o.Memory = memory })
	large := func() answer { return s.do("PUT", "/v1/cache/large?class=phi", make([]byte, megabyte)) }
	for range 50 {
		stalled(t, s, 10)
	}
	large().is(t, 204)
	var holding []net.Conn
	for range 3 {
		holding = append(holding, stalled(t, s, megabyte-1))
	}
	waitUntilHeld(t, memory, "default")
	got := large()
	got.refused(t, "rate_limited")
	require.Equal(t, "1", got.Header.Get("Retry-After"))
	for range 10 {
		s.do("PUT", "/v1/cache/small?class=phi", []byte("v")).is(t, 204)
		s.do("GET", "/v1/cache/small", nil).is(t, 200)
	}
	s.do("GET", "/v1/cache/large", nil).refused(t, "rate_limited")
	for _, conn := range holding {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return large().StatusCode == http.StatusNoContent }, 10*time.Second, 10*time.Millisecond)
	require.Len(t, s.do("GET", "/v1/cache/large", nil).is(t, 200).body, megabyte)
}

// One tenant's share is not another's.
func TestMemoryOfTenants(t *testing.T) {
	memory := limit.NewBytes(0, 2*megabyte)
	s := start(t, badger(t), func(o *api.Options) { o.Memory = memory })
	other, _, err := s.file.Issue(token.Grant{Tenant: "other", Scopes: identity.CacheWrite})
	require.NoError(t, err)
	stalled(t, s, megabyte-1)
	waitUntilHeld(t, memory, "default")
	large := make([]byte, megabyte)
	s.do("PUT", "/v1/cache/k?class=phi", large).refused(t, "rate_limited")
	s.do("PUT", "/v1/cache/k?class=phi", large, "Authorization", "Bearer "+other).is(t, 204)
}

// A body comes whole whatever its size, told before or not.
func TestBodiesOfAllSizes(t *testing.T) {
	s := start(t, badger(t), nil)
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 300_000, maxBody - 1, maxBody} {
		value := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		for _, told := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(value)
			if !told {
				body = io.MultiReader(body)
			}
			request, err := http.NewRequestWithContext(context.Background(), "PUT", s.http.URL+"/v1/cache/k?class=phi", body)
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer "+s.token)
			response, err := s.http.Client().Do(request)
			require.NoError(t, err)
			_ = response.Body.Close()
			require.Equal(t, 204, response.StatusCode, "%d bytes, told: %t", size, told)
			require.Equal(t, value, append([]byte{}, s.do("GET", "/v1/cache/k", nil).is(t, 200).body...))
		}
	}
}
