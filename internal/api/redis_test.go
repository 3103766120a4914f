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
	// patient has the client of Redis wait for longer than any test.
	patient = "?dial_timeout=10m&read_timeout=10m&write_timeout=10m"
)

// trouble is one way in which a Redis fails.
type trouble struct {
	name   string
	begin  func(t *testing.T, server *redistest.Server, admin *redis.Client)
	end    func(t *testing.T, server *redistest.Server, admin *redis.Client)
	codes  []string      // what may be answered
	hangs  bool          // there is no answer, but at the time limit
	spares []string      // methods that go on
	stops  []string      // operations that do not, though their method does
	lasts  time.Duration // after which it ends by itself; 0 is never
}

func set(t *testing.T, admin *redis.Client, name, value string) {
	require.NoError(t, admin.ConfigSet(t.Context(), name, value).Err())
}

var troubles = []trouble{
	{
		name: "stopped and restarted", codes: []string{"store_unavailable", "timeout"},
		begin: func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Stop() },
		end:   func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Restart() },
	}, {
		name: "frozen", hangs: true, codes: []string{"timeout", "store_unavailable"},
		begin: func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Freeze() },
		end:   func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Thaw() },
	}, {
		name: "paused", hangs: true, lasts: pause, codes: []string{"timeout", "store_unavailable"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) {
			require.NoError(t, admin.ClientPause(t.Context(), pause).Err())
		},
		end: func(*testing.T, *redistest.Server, *redis.Client) {},
	}, {
		name: "out of memory", codes: []string{"storage_full"}, spares: []string{"GET", "HEAD", "PATCH", "DELETE"},
		begin: func(t *testing.T, _ *redistest.Server, admin *redis.Client) { set(t, admin, "maxmemory", "1") },
		end:   func(t *testing.T, _ *redistest.Server, admin *redis.Client) { set(t, admin, "maxmemory", "0") },
	}, {
		name: "a read-only replica", codes: []string{"store_unavailable"}, spares: []string{"GET", "HEAD"}, stops: []string{"list"},
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

// operations use the store, each in its way.
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

// TestRedisFaults: whatever becomes of Redis, each operation answers within its time limit with what is
// wrong and nothing else, /readyz says so, /livez does not, and all is well again without a restart.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	for _, one := range troubles {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			store, err := rediskv.Open("redis://" + server.Addr + patient)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			s := start(t, store, func(o *api.Options) {
				if one.hangs {
					o.Timeout = storeTimeout
				}
			})
			soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", []byte("old")).StatusCode == 204 })
			admin := server.Client(t)
			require.NoError(t, admin.Ping(t.Context()).Err()) // which connects it, while it still can
			end := time.Now().Add(one.lasts)
			one.begin(t, server, admin)
			s.suffers(t, &one, func() bool { return one.lasts > 0 && !time.Now().Before(end) })
			one.end(t, server, admin)
			soon(t, func() bool { return s.do("GET", "/readyz", nil).StatusCode == 200 })
			soon(t, func() bool { return s.do("PUT", "/v1/cache/k?class=phi", []byte("well")).StatusCode == 204 })
			soon(t, func() bool { return string(s.do("GET", "/v1/cache/k", nil).body) == "well" })
			require.NotContains(t, s.log.String(), "pl4nted")
			require.NotContains(t, s.log.String(), `"code":"internal"`)
		})
	}
}

// suffers holds what is answered to the trouble, until it is over by itself.
func (s *service) suffers(t *testing.T, one *trouble, over func() bool) {
	for _, o := range operations {
		headers := []string{"Content-Type", "application/json"}
		if o.name == "put if there is none" {
			headers = append(headers, "If-None-Match", "*")
		}
		began := time.Now()
		got := s.do(o.method, o.path, []byte(o.body), headers...)
		require.Less(t, time.Since(began), time.Minute, "%s: the client of Redis alone would try for longer", o.name)
		if over() {
			t.Logf("a slow machine: the trouble was over before %q was tried", o.name)
			return
		}
		if slices.Contains(one.spares, o.method) && !slices.Contains(one.stops, o.name) {
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
	s.batchSuffers(t, one, over)
	if ready := s.do("GET", "/readyz", nil); !over() {
		ready.refused(t, "store_unavailable")
	}
	s.do("GET", "/livez", nil).is(t, 200)
	soon(t, func() bool {
		return s.do("POST", "/v1/encrypt", []byte(`{"text":"x","class":"phi"}`), "Content-Type", "application/json").StatusCode == 200
	})
}

func (s *service) batchSuffers(t *testing.T, one *trouble, over func() bool) {
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
		if slices.Contains(one.spares, method) {
			require.Less(t, result.Status, 500)
		} else {
			require.Contains(t, one.codes, result.Code, "%s", got.body)
		}
	}
}

// TestRedisRestartsRepeatedly: while Redis stops answering again and again, a read gives the last value that was
// written or one whose write failed, which may arrive late, and never anything else.
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

// A key of Redis that holds another type, or no package, was not written here.
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
