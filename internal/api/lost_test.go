package api_test

import (
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// conditional lists the operations whose result would differ if they ran twice.
var conditional = []struct {
	name, command, method, query string
	there                        bool
	status                       int
	header                       func(tag string) []string
	after                        string
}{
	{"put if there is none", "set", "PUT", "?class=phi", false, 204, func(string) []string { return []string{"If-None-Match", "*"} }, "new"},
	{"put if unchanged", "evalsha", "PUT", "?class=phi", true, 204, func(tag string) []string { return []string{"If-Match", tag} }, "new"},
	{"put if there", "evalsha", "PUT", "?class=phi", true, 204, func(string) []string { return []string{"If-Match", "*"} }, "new"},
	{"delete", "del", "DELETE", "", true, 204, func(string) []string { return nil }, ""},
	{"delete if unchanged", "evalsha", "DELETE", "", true, 204, func(tag string) []string { return []string{"If-Match", tag} }, ""},
	{"keep longer", "evalsha", "PATCH", "?ttl=20m", true, 0, func(string) []string { return nil }, "old"},
	{"keep longer if unchanged", "evalsha", "PATCH", "?ttl=20m", true, 0, func(tag string) []string { return []string{"If-Match", tag} }, "old"},
}

// lose checks every conditional operation while one reply is lost. begin arranges the loss.
func lose(t *testing.T, s *service, begin func(command string) (end func())) {
	for _, op := range conditional {
		t.Run(op.name, func(t *testing.T) {
			path, tag := "/v1/cache/"+url.PathEscape(op.name), ""
			if op.there {
				tag = s.do("PUT", path+"?class=phi&ttl=1m", []byte("old")).is(t, 204).Header.Get("ETag")
			}
			end := begin(op.command)
			got := s.do(op.method, path+op.query, []byte("new"), op.header(tag)...)
			end()
			require.Less(t, got.StatusCode, 300, "%s", got.body)
			if op.status != 0 {
				require.Equal(t, op.status, got.StatusCode)
			}
			now := s.do("GET", path, nil)
			if op.after == "" {
				now.refused(t, "not_found")
				return
			}
			require.Equal(t, op.after, string(now.is(t, 200).body))
			if op.method == "PUT" {
				require.Equal(t, got.Header.Get("ETag"), now.Header.Get("ETag"))
			}
		})
	}
}

// A conditional operation that the store applied is answered as done, although the store's reply was lost.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		proxy := redistest.NewProxy(t, server)
		store, err := rediskv.Open(proxy.URL())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		s := start(t, store, nil)
		lose(t, s, func(string) func() { return func() {} }) // loads the scripts into Redis
		require.NoError(t, server.Client(t).FlushDB(t.Context()).Err())
		lose(t, s, func(command string) func() {
			proxy.LoseReplies(command, 1)
			return func() { require.Equal(t, 1, proxy.TakeLost()) }
		})
	})
	for name, fault := range kvtest.Faults {
		if fault == kvtest.Fail {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := kvtest.NewFaulty(embedded(t), nil)
			lose(t, start(t, f, nil), func(string) func() {
				f.SetFaults(kvtest.Once(fault))
				return func() { f.Flush(t.Context()) }
			})
		})
	}
}

// A client that reads, changes and writes with If-Match, and starts over after 412, applies each change once.
func TestReadModifyWriteUnderLostReplies(t *testing.T) {
	t.Parallel()
	calls := 0
	f := kvtest.NewFaulty(embedded(t), func(_ int, w *kv.Write) kvtest.Fault {
		if w.If == kv.Always {
			return kvtest.None
		}
		calls++
		return []kvtest.Fault{kvtest.LoseReply, kvtest.None, kvtest.Delay, kvtest.LoseRequest, kvtest.Duplicate}[calls%5]
	})
	s := start(t, f, nil)
	const changes = 25
	for range changes {
		for {
			got := s.do("GET", "/v1/cache/counter", nil)
			n, condition := 0, []string{"If-None-Match", "*"}
			if got.StatusCode == 200 {
				n, _ = strconv.Atoi(string(got.body))
				condition = []string{"If-Match", got.Header.Get("ETag")}
			}
			put := s.do("PUT", "/v1/cache/counter?class=phi", []byte(strconv.Itoa(n+1)), condition...)
			if put.StatusCode == 204 {
				break
			}
			put.refused(t, "precondition_failed")
		}
	}
	require.Equal(t, strconv.Itoa(changes), string(s.do("GET", "/v1/cache/counter", nil).is(t, 200).body))
}
