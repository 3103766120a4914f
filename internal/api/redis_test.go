package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/codes"
)

const (
	storeTimeout = 250 * time.Millisecond
	pause        = 6 * time.Second
	// longTimeouts makes the Redis client wait longer than any test.
	longTimeouts = "?dial_timeout=10m&read_timeout=10m&write_timeout=10m"
)

// fault is one way in which a Redis fails.
type fault struct {
	name              string
	begin             func(t *testing.T, server *redistest.Server, admin *redis.Client)
	end               func(t *testing.T, server *redistest.Server, admin *redis.Client)
	codes             []string      // allowed error codes
	hangs             bool          // Redis does not reply, so requests end at the time limit
	unaffectedMethods []string      // methods that still succeed
	failingOperations []string      // operations that fail although their method is unaffected
	duration          time.Duration // time after which the fault ends without a call of end; 0 if it does not
}

func set(t *testing.T, admin *redis.Client, name, value string) {
	require.NoError(t, admin.ConfigSet(t.Context(), name, value).Err())
}

var faults = []fault{
	{
		name: "stopped and restarted", codes: []string{"store_unavailable", "timeout"},
		begin: func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Stop() },
		end:   func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Restart() },
	}, {
		name: "frozen", hangs: true, codes: []string{"timeout", "store_unavailable"},
		begin: func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Freeze() },
		end:   func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Thaw() },
	}, {
		name: "paused", hangs: true, duration: pause, codes: []string{"timeout", "store_unavailable"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
			require.NoError(t, admin.ClientPause(t.Context(), pause).Err())
		},
		end: func(*testing.T, *redistest.Server, *redis.Client) {},
	}, {
		name: "out of memory", codes: []string{"storage_full"}, unaffectedMethods: []string{"GET", "HEAD", "PATCH", "DELETE"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) { set(t, admin, "maxmemory", "1") },
		end:   func(t *testing.T, _ *redistest.Server, admin *redis.Client) { set(t, admin, "maxmemory", "0") },
	}, {
		name: "a read-only replica", codes: []string{"store_unavailable"}, unaffectedMethods: []string{"GET", "HEAD"}, failingOperations: []string{"list"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
			require.NoError(t, admin.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
		},
		end: func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
			require.NoError(t, admin.ReplicaOf(t.Context(), "NO", "ONE").Err())
		},
	}, {
		name: "another password", codes: []string{"store_unavailable"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
			set(t, admin, "requirepass", "pl4nted")
			require.NoError(t, admin.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err())
		},
		end: func(t *testing.T, _ *redistest.Server, admin *redis.Client) { set(t, admin, "requirepass", "") },
	},
}

// operations are requests that use the store in different ways.
var operations = []struct{ name, method, path, body string }{
	{"put", "PUT", "/v1/cache/k?class=phi", "new"},
	{"put if there is none", "PUT", "/v1/cache/other?class=phi", "new"},
	{"session", "POST", "/v1/sessions", `{"data":{}}`},
	{"get", "GET", "/v1/cache/k", ""},
	{"head", "HEAD", "/v1/cache/k", ""},
	{"list", "GET", "/v1/cache", ""},
	{"keep longer", "PATCH", "/v1/cache/k?ttl=1h", ""},
	{"delete", "DELETE", "/v1/cache/gone", ""},
}

// If Redis fails, each operation returns the error code of the fault within its time limit. /readyz fails, /livez does not,
// and the server recovers without a restart.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	for _, one := range faults {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			store, err := rediskv.Open("redis://" + server.Addr + longTimeouts)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			s := start(t, store, func(o *api.Options) {
				if one.hangs {
					o.Timeout = storeTimeout
				}
			})
			soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", []byte("old")).StatusCode == 204 })
			admin := server.Client(t)
			require.NoError(t, admin.Ping(t.Context()).Err()) // connects before the fault begins
			end := time.Now().Add(one.duration)
			one.begin(t, server, admin)
			s.requireFails(t, &one, func() bool { return one.duration > 0 && !time.Now().Before(end) })
			one.end(t, server, admin)
			soon(t, func() bool { return s.do("GET", "/readyz", nil).StatusCode == 200 })
			soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", []byte("well")).StatusCode == 204 })
			soon(t, func() bool { return string(s.do("GET", "/v1/cache/k", nil).body) == "well" })
			require.NotContains(t, s.log.String(), "pl4nted")
			require.NotContains(t, s.log.String(), `"code":"internal"`)
		})
	}
}

// requireFails checks the response of each operation during a fault. It stops checking if the fault is over.
func (s *service) requireFails(t *testing.T, one *fault, over func() bool) {
	for _, o := range operations {
		headers := []string{"Content-Type", "application/json"}
		if o.name == "put if there is none" {
			headers = append(headers, "If-None-Match", "*")
		}
		began := time.Now()
		got := s.do(o.method, o.path, []byte(o.body), headers...)
		require.Less(t, time.Since(began), time.Minute, "%s: the client of Redis alone would try for longer", o.name)
		if over() {
			t.Logf("a slow machine: the fault was over before %q was tried", o.name)
			return
		}
		if slices.Contains(one.unaffectedMethods, o.method) && !slices.Contains(one.failingOperations, o.name) {
			require.Less(t, got.StatusCode, 500, "%s: %s", o.name, got.body)
			continue
		}
		code := got.Header.Get("Coffer-Code")
		if o.method != "HEAD" {
			var problem struct{ Code string }
			require.NoError(t, json.Unmarshal(got.body, &problem), "%s: %s", o.name, got.body)
			code = problem.Code
		}
		require.Contains(t, one.codes, code, o.name)
		require.Equal(t, codes.Table[codes.Number(code)].Retry, got.Header.Get("Retry-After") != "", o.name)
	}
	s.requireBatchFails(t, one, over)
	if ready := s.do("GET", "/readyz", nil); !over() {
		ready.refused(t, "store_unavailable")
	}
	s.do("GET", "/livez", nil).is(t, 200)
	soon(t, func() bool {
		return s.do("POST", "/v1/encrypt", []byte(`{"text":"x","class":"phi"}`), "Content-Type", "application/json").StatusCode == 200
	})
}

func (s *service) requireBatchFails(t *testing.T, one *fault, over func() bool) {
	body := `{"operations":[{"op":"set","key":"k","value":"bmV3","class":"phi"},{"op":"get","key":"k"},{"op":"delete","key":"gone"}]}`
	got := s.do("POST", "/v1/cache:batch", []byte(body), "Content-Type", "application/json")
	if over() {
		return
	}
	got.is(t, 200)
	var answer struct {
		Results []struct {
			Status int
			Code   string
		}
	}
	require.NoError(t, json.Unmarshal(got.body, &answer))
	require.Len(t, answer.Results, 3)
	for i, method := range []string{"PUT", "GET", "DELETE"} {
		result := answer.Results[i]
		if slices.Contains(one.unaffectedMethods, method) {
			require.Less(t, result.Status, 500)
		} else {
			require.Contains(t, one.codes, result.Code, "%s", got.body)
		}
	}
}

// While Redis repeatedly stops replying, a read returns the last value that was written, or a value whose write was reported
// as failed (Redis may apply it late), and never another one.
func TestRedisRestartsRepeatedly(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, err := rediskv.Open("redis://" + server.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := start(t, store, func(o *api.Options) { o.Timeout = storeTimeout })
	done := make(chan struct{})
	var refused atomic.Bool
	go func() {
		defer close(done)
		for round := 0; round < 4 || !refused.Load() && round < 40; round++ { // a busy machine may not write in time to be refused
			time.Sleep(50 * time.Millisecond)
			server.Freeze()
			time.Sleep(storeTimeout + 100*time.Millisecond)
			server.Thaw()
		}
	}()
	last, failed, writes := "", []string{}, 0
	for running := true; running; writes++ {
		select {
		case <-done:
			running = false
		default:
		}
		value := fmt.Sprint("value ", writes)
		if put := s.do("PUT", "/v1/cache/k?class=phi", []byte(value)); put.StatusCode == http.StatusNoContent {
			last = value
		} else {
			require.Contains(t, []int{503, 504}, put.StatusCode, string(put.body))
			failed = append(failed, value)
			refused.Store(true)
		}
		if got := s.do("GET", "/v1/cache/k", nil); got.StatusCode == http.StatusOK {
			require.True(t, string(got.body) == last || slices.Contains(failed, string(got.body)), "%s is neither %s nor one of %v", got.body, last, failed)
		} else {
			require.Contains(t, []int{404, 503, 504}, got.StatusCode, string(got.body))
		}
	}
	require.NotEmpty(t, failed)
	t.Logf("%d of %d writes failed", len(failed), writes)
}

// A Redis key that has another type, or does not hold a package, was not written by Coffer and is refused.
func TestForeignRedisTypeIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := start(t, rediskv.New(client), func(o *api.Options) { o.Memory = limit.NewMemory(0, 4*megabyte) })
	require.NoError(t, client.RPush(t.Context(), stored("list"), "x").Err())
	require.NoError(t, client.Set(t.Context(), stored("text"), "no package", 0).Err())
	require.NoError(t, client.SetRange(t.Context(), stored("long"), kv.MaxValueSize, "x").Err())
	for _, key := range []string{"list", "text", "long"} {
		s.do("GET", "/v1/cache/"+key, nil).refused(t, "authentication_failed")
		require.Equal(t, "authentication_failed", s.do("HEAD", "/v1/cache/"+key, nil).Header.Get("Coffer-Code"))
		s.do("PATCH", "/v1/cache/"+key+"?ttl=1h", nil).refused(t, "authentication_failed")
		put := "/v1/cache/" + key + "?class=phi"
		s.do("PUT", put, []byte("v"), "If-None-Match", "*").refused(t, "precondition_failed")
		s.do("PUT", put, []byte("v"), "If-Match", `"nJ2bJ_PbZG0jEUC9"`).refused(t, "authentication_failed")
		s.do("DELETE", "/v1/cache/"+key, nil).is(t, 204)
	}
}
