package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
)

const megabyte = 1 << 20

// stalledUpload begins an upload of a megabyte and stops after n bytes.
func stalledUpload(t *testing.T, s *service, n int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT /v1/cache/stalled?class=phi HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		s.token, megabyte, strings.Repeat("x", n))
	require.NoError(t, err)
	return conn
}

// received counts the bytes of bodies that handlers have read. A handler reads more than the beginning of a body only
// after memory for the whole body is reserved.
type received struct {
	http.Handler
	bytes atomic.Int64
}

func (r *received) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	request.Body = &counted{request.Body, r}
	r.Handler.ServeHTTP(w, request)
}

type counted struct {
	io.ReadCloser
	by *received
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.by.bytes.Add(int64(n))
	return n, err
}

// startCounted is start, and also counts the bytes of the bodies that handlers read.
func startCounted(t *testing.T, change func(*api.Options)) (*service, *received) {
	t.Helper()
	s := prepare(t, embedded(t), change)
	r := &received{Handler: s.http.Config.Handler}
	s.http.Config.Handler = r
	s.http.Start()
	return s, r
}

// An upload that stalls reserves memory only for the bytes that it sent. While the whole limit is reserved, large requests
// are refused and small ones are served.
func TestMemoryOfUploads(t *testing.T) {
	t.Parallel()
	memory := limit.NewMemory(6*megabyte, 0)
	s, received := startCounted(t, func(o *api.Options) { o.Memory = memory })
	large := func() answer { return s.do("PUT", "/v1/cache/large?class=phi", make([]byte, megabyte)) }
	for range 50 {
		stalledUpload(t, s, 10)
	}
	large().is(t, 204)
	soon(t, func() bool { return received.bytes.Load() == 50*10+megabyte })
	var holding []net.Conn
	for range 3 {
		holding = append(holding, stalledUpload(t, s, megabyte-1))
	}
	soon(t, func() bool { return received.bytes.Load() == 50*10+megabyte+3*(megabyte-1) })
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
	soon(t, func() bool { return large().StatusCode == http.StatusNoContent })
	require.Len(t, s.do("GET", "/v1/cache/large", nil).is(t, 200).body, megabyte)
}

// Concurrent reads of large values use no more memory than allowed: a value is read after memory for it is reserved.
func TestMemoryOfReads(t *testing.T) {
	t.Parallel()
	store := &concurrentReads{Store: embedded(t)}
	memory := limit.NewMemory(2*megabyte+megabyte/2, 0)
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
	soon(t, func() bool { return s.do("GET", "/v1/cache/large", nil).StatusCode == 200 })
}

// growingStore replaces a value by a longer one once its first bytes were read.
type growingStore struct {
	kv.Store
	key   string
	later []byte // nil if the value stays
}

func (g *growingStore) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	found, err := g.Store.Read(ctx, keys, limit)
	if g.key = keys[0]; err == nil && g.later != nil {
		err = kv.Set(ctx, g.Store, g.key, g.later, 0)
		g.later = nil
	}
	return found, err
}

// If a value is replaced by a longer one while it is read, memory for the longer one is reserved before it is read.
func TestGrowingValueReservesMore(t *testing.T) {
	t.Parallel()
	memory := limit.NewMemory(20*megabyte, 0)
	store := &growingStore{Store: embedded(t)}
	s := start(t, store, func(o *api.Options) { o.Memory, o.MaxBody = memory, 8*megabyte })
	put := func(n int) { s.do("PUT", "/v1/cache/k?class=phi", make([]byte, n)).is(t, 204) }
	put(8 * megabyte)
	s.do("GET", "/v1/cache/k", nil).is(t, 200)
	later, _, err := kv.Get(t.Context(), store.Store, store.key)
	require.NoError(t, err)
	put(megabyte / 4)
	store.later = later
	require.NoError(t, memory.Reserve("others", 19*megabyte))
	s.do("GET", "/v1/cache/k", nil).refused(t, "rate_limited")
	require.Nil(t, store.later)
	put(megabyte / 4)
	store.later = later
	memory.Release("others", 19*megabyte)
	require.Len(t, s.do("GET", "/v1/cache/k", nil).is(t, 200).body, 8*megabyte)
}

// The values of a batch stay in memory until the response is sent, so they are counted together and released at the end.
func TestMemoryOfBatches(t *testing.T) {
	t.Parallel()
	memory := limit.NewMemory(megabyte, 0)
	s := start(t, embedded(t), func(o *api.Options) { o.Memory = memory })
	s.do("PUT", "/v1/cache/small?class=phi", make([]byte, 100<<10)).is(t, 204)
	batch := func(n int) answer {
		gets := strings.Repeat(`,{"op":"get","key":"small"}`, n)[1:]
		return s.do("POST", "/v1/cache:batch", []byte(`{"operations":[`+gets+`]}`), "Content-Type", "application/json").is(t, 200)
	}
	for range 3 {
		var answered struct{ Results []struct{ Status int } }
		require.NoError(t, json.Unmarshal(batch(100).body, &answered))
		read := slices.IndexFunc(answered.Results, func(r struct{ Status int }) bool { return r.Status == http.StatusTooManyRequests })
		require.Equal(t, 1+10, read) // the first value is not counted, and ten values of a little more than 100 KiB fit
	}
	var refused []audit.Event
	for _, e := range s.audit.take() {
		if e.Action == audit.AccessRefused {
			refused = append(refused, e)
		}
	}
	require.Len(t, refused, 1, "the other refusals are summarised")
	require.Equal(t, []any{"rate_limited", audit.Facts{audit.FactFailed: "89", audit.FactClient: "127.0.0.1"}}, []any{refused[0].Code, refused[0].Facts})
	require.NoError(t, memory.Reserve("default", megabyte))
	require.Contains(t, string(batch(1).body), `"status":200`)
}

// A batch releases the memory of entries that it refuses, because of their class, at once.
func TestRefusedReadsReleaseMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16_000, 100 << 10, 600 << 10} {
		s := start(t, embedded(t), func(o *api.Options) { o.Memory = limit.NewMemory(3*megabyte/2, 0) })
		s.do("PUT", "/v1/cache/low?class=internal", make([]byte, size)).is(t, 204)
		s.do("PUT", "/v1/cache/high?class=phi", make([]byte, size)).is(t, 204)
		gets := strings.Repeat(`{"op":"get","key":"low","minClass":"phi"},`, 300) + `{"op":"get","key":"high","minClass":"phi"}`
		got := s.do("POST", "/v1/cache:batch", []byte(`{"operations":[`+gets+`]}`), "Content-Type", "application/json").is(t, 200)
		var answered struct{ Results []batchResult }
		require.NoError(t, json.Unmarshal(got.body, &answered))
		for i, one := range answered.Results[:300] {
			require.Equal(t, "class_too_low", one.Code, "%d of %d bytes", i, size)
		}
		require.Equal(t, 200, answered.Results[300].Status)
	}
}

// discardingStore discards writes, so that the memory of the embedded store is not measured.
type discardingStore struct{ kv.Store }

func (discardingStore) Write(_ context.Context, writes []kv.Write) ([]bool, error) {
	return make([]bool, len(writes)), nil
}

// heapMeter measures the live heap while a handler waits for the audit log and while it writes a long response.
type heapMeter struct {
	audit.Recorder
	http.Handler
	most atomic.Uint64
}

func (s *heapMeter) measure() {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	s.most.Store(max(s.most.Load(), m.HeapAlloc))
}

func (s *heapMeter) Record(ctx context.Context, events ...audit.Event) error {
	s.measure()
	return s.Recorder.Record(ctx, events...)
}

func (s *heapMeter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Handler.ServeHTTP(&meteredWriter{w, s}, r)
}

type meteredWriter struct {
	http.ResponseWriter
	heapMeter *heapMeter
}

func (w *meteredWriter) Write(p []byte) (int, error) {
	if len(p) > 10<<10 {
		w.heapMeter.measure()
	}
	return w.ResponseWriter.Write(p)
}

// A batch of one value or of many uses no more memory than is reserved for it, and is served if exactly that much is free.
func TestReservedMemoryCoversUse(t *testing.T) {
	const (
		all   = 1 << 30
		slack = megabyte // buffers of connections and of the encoder's pool
	)
	for _, n := range []int{1, 12} {
		value := strings.Repeat("v", 6*megabyte/n)
		each := func(format string, args ...any) string {
			return strings.Repeat(","+fmt.Sprintf(format, args...), n)[1:]
		}
		memory := limit.NewMemory(all, 0)
		var meter heapMeter
		s := prepare(t, discardingStore{embedded(t)}, func(o *api.Options) {
			meter.Recorder, o.Audit = o.Audit, &meter
			o.MaxBody, o.Memory = 64*megabyte, memory
		})
		meter.Handler, s.http.Config.Handler = s.http.Config.Handler, &meter
		s.http.Start()
		sealed := string(s.do("POST", "/v1/encrypt", []byte(`{"class":"phi","text":"`+value+`"}`), "Content-Type", "application/json").is(t, 200).body)
		for path, body := range map[string]string{
			"/v1/encrypt:batch": `{"items":[` + each(`{"class":"phi","text":"%s"}`, value) + `]}`,
			"/v1/decrypt:batch": `{"items":[` + each("%s", sealed) + `]}`,
			"/v1/cache:batch":   `{"operations":[` + each(`{"op":"set","key":"k","class":"phi","value":"%s"}`, base64.StdEncoding.EncodeToString([]byte(value))) + `]}`,
		} {
			counted := 2 * len(body)
			if path != "/v1/cache:batch" {
				counted += 2 * len(body) / n // for the value that is being processed
			}
			require.NoError(t, memory.Reserve("others", int64(all-counted)))
			live := s.heapGrowth(&meter, path, body)
			const little = 64
			require.NoError(t, memory.Reserve("others", little))
			require.Contains(t, string(s.do("POST", path, []byte(body), "Content-Type", "application/json").body), "rate_limited", "the batch must reserve all free memory")
			memory.Release("others", int64(all-counted+little))
			require.LessOrEqual(t, live, counted+slack, "%d values of %s", n, path)
		}
	}
}

// heapGrowth sends a batch that must succeed, and returns by how many bytes the live heap grew in the meantime.
func (s *service) heapGrowth(meter *heapMeter, path, body string) int {
	runtime.GC() // measure collects again; two collections empty the pools
	meter.most.Store(0)
	meter.measure()
	before := meter.most.Load()
	request, err := http.NewRequest("POST", s.http.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Client().Do(request)
	require.NoError(s.t, err)
	var part [64 << 10]byte
	for err == nil {
		var n int
		n, err = response.Body.Read(part[:])
		require.NotContains(s.t, string(part[:n]), "rate_limited")
	}
	require.Equal(s.t, io.EOF, err)
	require.NoError(s.t, response.Body.Close())
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	return int(meter.most.Load() - before)
}

// concurrentReads counts whole values that are read at the same time.
type concurrentReads struct {
	kv.Store
	now, most atomic.Int64
}

func (f *concurrentReads) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	if limit <= 128<<10 { // the first bytes
		return f.Store.Read(ctx, keys, limit)
	}
	for now := f.now.Add(1); ; {
		if most := f.most.Load(); now <= most || f.most.CompareAndSwap(most, now) {
			break
		}
	}
	defer f.now.Add(-1)
	time.Sleep(5 * time.Millisecond)
	return f.Store.Read(ctx, keys, limit)
}

// A tenant cannot use the memory share of another tenant.
func TestMemoryOfTenants(t *testing.T) {
	t.Parallel()
	memory := limit.NewMemory(0, 2*megabyte)
	s, received := startCounted(t, func(o *api.Options) { o.Memory = memory })
	other, _, err := s.tokens.Issue(context.Background(), token.Grant{Tenant: "other", Scopes: identity.CacheWrite}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	stalledUpload(t, s, megabyte-1)
	soon(t, func() bool { return received.bytes.Load() == megabyte-1 })
	large := make([]byte, megabyte)
	s.do("PUT", "/v1/cache/k?class=phi", large).refused(t, "rate_limited")
	s.do("PUT", "/v1/cache/k?class=phi", large, "Authorization", "Bearer "+other).is(t, 204)
}

// A body of any size is read completely, with and without a Content-Length.
func TestBodiesOfAllSizes(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for _, size := range []int{0, 1, 64 << 10, 128<<10 - 1, 128 << 10, 128<<10 + 1, 300_000, maxBody - 1, maxBody} {
		value := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		for _, withLength := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(value)
			if !withLength {
				body = io.MultiReader(body)
			}
			request, err := http.NewRequestWithContext(context.Background(), "PUT", s.http.URL+"/v1/cache/k?class=phi", body)
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer "+s.token)
			response, err := s.http.Client().Do(request)
			require.NoError(t, err)
			_ = response.Body.Close()
			require.Equal(t, 204, response.StatusCode, "%d bytes, withLength: %t", size, withLength)
			require.Equal(t, value, append([]byte{}, s.do("GET", "/v1/cache/k", nil).is(t, 200).body...))
		}
	}
}
