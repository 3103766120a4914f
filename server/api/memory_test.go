package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/api"
	"github.com/coffer-storage/coffer/server/identity"
	"github.com/coffer-storage/coffer/server/kv"
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

// Many who read large values at once hold no more than they may: a value is not fetched before there is room for it.
func TestMemoryOfReads(t *testing.T) {
	store := &fetching{Store: badger(t)}
	memory := limit.NewBytes(2*megabyte+megabyte/2, 0)
	s := start(t, store, func(o *api.Options) { o.Memory = memory })
	s.do("PUT", "/v1/cache/large?class=phi", make([]byte, megabyte-1024)).is(t, 204)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got := s.do("GET", "/v1/cache/large", nil)
			if got.StatusCode != 200 {
				assert.Equal(t, 429, got.StatusCode)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, store.most.Load(), int64(1))
	require.Eventually(t, func() bool { return s.do("GET", "/v1/cache/large", nil).StatusCode == 200 }, 10*time.Second, 10*time.Millisecond)
}

// What a batch reads stays until all of it is answered, so small values count together, and are given back.
func TestMemoryOfBatches(t *testing.T) {
	memory := limit.NewBytes(megabyte, 0)
	s := start(t, badger(t), func(o *api.Options) { o.Memory = memory })
	s.do("PUT", "/v1/cache/small?class=phi", make([]byte, 100<<10)).is(t, 204)
	batch := func(n int) answer {
		gets := strings.Repeat(`,{"op":"get","key":"small"}`, n)[1:]
		return s.do("POST", "/v1/cache:batch", []byte(`{"operations":[`+gets+`]}`), "Content-Type", "application/json").is(t, 200)
	}
	for range 3 {
		var answered struct{ Results []struct{ Status int } }
		require.NoError(t, json.Unmarshal(batch(100).body, &answered))
		read := slices.IndexFunc(answered.Results, func(r struct{ Status int }) bool { return r.Status == http.StatusTooManyRequests })
		require.Equal(t, 1+10, read) // one that is not counted, and ten of a little more than 100 KiB
	}
	require.NoError(t, memory.Take("default", megabyte))
	require.Contains(t, string(batch(1).body), `"status":200`)
}

// fetching counts whole values that are read at the same time.
type fetching struct {
	kv.Store
	now, most atomic.Int64
}

func (f *fetching) Get(ctx context.Context, key string) ([]byte, bool, error) {
	for now := f.now.Add(1); ; {
		if most := f.most.Load(); now <= most || f.most.CompareAndSwap(most, now) {
			break
		}
	}
	defer f.now.Add(-1)
	time.Sleep(5 * time.Millisecond)
	return f.Store.Get(ctx, key)
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
	for _, size := range []int{0, 1, 64 << 10, 128<<10 - 1, 128 << 10, 128<<10 + 1, 300_000, maxBody - 1, maxBody} {
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
