package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/server/audit"
)

// A request that costs as much as several counts as several.
func TestCharges(t *testing.T) {
	t.Parallel()
	const burst = 55
	large := bytes.Repeat([]byte("x"), 4*16<<10)
	batch := `{"operations":[` + strings.Repeat(`{"op":"get","key":"k"},`, 19) + `{"op":"get","key":"k"}]}`
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		cost         int
	}{
		"a small value": {"PUT", "/v1/cache/k?class=phi", []byte("x"), 1},
		"a large value": {"PUT", "/v1/cache/k?class=phi", large, 5},
		"a large entry": {"GET", "/v1/cache/large", nil, 5},
		"its header":    {"HEAD", "/v1/cache/large", nil, 5},
		"its time":      {"PATCH", "/v1/cache/large?ttl=1h", nil, 5},
		"a list":        {"GET", "/v1/cache?limit=26", nil, 2},
		"a search":      {"GET", "/v1/audit?severity=critical", nil, 3},
		"a batch":       {"POST", "/v1/cache:batch", []byte(batch), 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, embedded(t), func(o *api.Options) { o.Limits = limit.NewTenants(limit.Quota{Rate: 1e-9, Burst: burst}, still()) })
			s.do("PUT", "/v1/cache/large?class=phi", large).is(t, http.StatusNoContent)
			for i := range 26 {
				s.do("PUT", fmt.Sprintf("/v1/cache/%d?class=phi", i), nil).is(t, http.StatusNoContent)
			}
			require.NoError(t, s.trail.Record(t.Context(), slices.Repeat([]audit.Event{{Action: audit.AccessRefused, Code: "forbidden"}}, 200)...))
			s.do(c.method, c.path, c.body, "Content-Type", "application/json")
			served := 0
			for s.do("GET", "/v1/cache/absent", nil).StatusCode == http.StatusNotFound {
				served++
			}
			require.Equal(t, burst-5-26-c.cost, served)
		})
	}
}

// A refused upload is not charged, so a tenant that retries does not wait longer.
func TestRefusedUploadsAreNotCharged(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	begin := time.Now()
	s := start(t, embedded(t), func(o *api.Options) {
		o.Limits = limit.NewTenants(limit.Quota{Rate: 1, Burst: 1}, func() time.Time { return begin.Add(time.Duration(passed.Load())) })
	})
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
	for range 3 {
		s.do("PUT", "/v1/cache/k?class=phi", make([]byte, 1<<20)).refused(t, "rate_limited")
	}
	passed.Store(int64(time.Second))
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
}

// A request that is refused for lack of memory is not charged.
func TestRefusedReservationsAreNotCharged(t *testing.T) {
	t.Parallel()
	const size = 512 << 10
	memory := limit.NewMemory(4*size, 4*size)
	s := start(t, embedded(t), func(o *api.Options) {
		o.Memory, o.Limits = memory, limit.NewTenants(limit.Quota{Rate: 1e-9, Burst: 100}, still())
	})
	s.do("PUT", "/v1/cache/large?class=phi", make([]byte, size)).is(t, http.StatusNoContent) // 33
	require.NoError(t, memory.Reserve("another", 4*size))
	for range 3 {
		s.do("PUT", "/v1/cache/k?class=phi", make([]byte, size)).refused(t, "rate_limited")
		s.do("GET", "/v1/cache/large", nil).refused(t, "rate_limited")
	}
	memory.Release("another", 4*size)
	for range 100 - 33 - 6 {
		s.do("GET", "/v1/cache/absent", nil).refused(t, "not_found")
	}
	s.do("GET", "/v1/cache/absent", nil).refused(t, "rate_limited")
}

// Responses to wrong tokens and to requests over a limit are delayed. Others are not, and a shutdown does not wait for delayed ones.
func TestRefusalsAreDelayed(t *testing.T) {
	t.Parallel()
	ending, end := context.WithCancel(context.Background())
	defer end()
	s := start(t, embedded(t), func(o *api.Options) {
		o.RefusalDelay, o.Shutdown, o.Limits = time.Hour, ending, limit.NewTenants(limit.Quota{Rate: 1e-9, Burst: 3}, still())
	})
	answers := make(chan answer)
	var early atomic.Bool
	send := func(token string) {
		got := s.do("GET", "/v1/cache/k", nil, "Authorization", token)
		if ending.Err() == nil {
			early.Store(true)
		}
		answers <- got
	}
	go send("Bearer x")
	for range 3 {
		s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
	}
	go send("Bearer " + s.token)
	go send("")
	s.do("GET", "/livez", nil).is(t, http.StatusOK)
	end()
	codes := map[int]int{}
	for range 3 {
		codes[(<-answers).StatusCode]++
	}
	require.Equal(t, map[int]int{http.StatusUnauthorized: 2, http.StatusTooManyRequests: 1}, codes)
	require.False(t, early.Load(), "an answer did not wait")
}
