package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/codes"
)

// service is a whole server in the test's process.
type service struct {
	t      *testing.T
	http   *httptest.Server
	store  kv.Store
	tokens *token.Authenticator
	ring   *keyring.Keyring
	keys   keystore.Store

	rotator *rotation.Rotator
	token   string
	log     *lockedBuffer
	audit   events
	trail   *audit.File // what GET /v1/audit reads
}

// lockedBuffer is written by the server's goroutines while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

const (
	maxBody     = 1 << 20
	rotationAge = 90 * 24 * time.Hour
)

// start serves a store. If change is not nil, it can alter the options before the server starts.
func start(t *testing.T, store kv.Store, change func(*api.Options)) *service {
	t.Helper()
	s := prepare(t, store, change)
	s.http.Start()
	return s
}

// prepare is start, but does not start the HTTP server.
func prepare(t *testing.T, store kv.Store, change func(*api.Options)) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{t: t, store: store, log: &lockedBuffer{}}
	s.keys, s.ring = openRing(t, dir)
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	counted := metrics.New(api.Operations(), func(string) string { return "hash" })
	recorder := api.NewAlarm(&s.audit, counted, log)
	system, err := s.ring.System(t.Context())
	require.NoError(t, err)
	s.tokens, err = token.Open(t.Context(), token.Options{Store: s.keys, System: system, Audit: audit.Discard, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(s.tokens.Close)
	s.token, _, err = s.tokens.CreateFirst(context.Background(), token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	var trail *audit.Reader
	s.trail, trail = openTrail(t, dir)
	s.rotator = rotation.New(rotation.Options{
		Keyring: s.ring, Keystore: s.keys, Store: store, Audit: recorder, MaxAge: rotationAge, Grace: time.Hour,
	})
	probe, err := readiness.StoreProbe(store)
	require.NoError(t, err)
	options := api.Options{
		Store: store, Keys: keysOf(s.ring), Keyring: s.ring, Rotator: s.rotator, Identity: s.tokens, Demo: fstest.MapFS{}, Audit: recorder, AuditReader: trail,
		Refusals: audit.NewRefusals(recorder, log),
		Metrics:  counted,
		Limits:   limit.NewTenants(limit.Quota{}, nil), Memory: limit.NewMemory(0, 0), Failures: limit.NewFailures(1e6, nil),
		Log: log, LogShare: 1,
		MaxBody: maxBody, Timeout: time.Minute,
		Ready: readiness.New(log, 0, readiness.Check{Code: "store_unavailable", Run: probe}),
	}
	if change != nil {
		change(&options)
	}
	handler, err := api.New(options)
	require.NoError(t, err)
	s.http = httptest.NewUnstartedServer(handler)
	s.http.Config.MaxHeaderBytes = api.MaxHeader
	t.Cleanup(s.http.Close)
	return s
}

func openRing(t *testing.T, dir string) (keystore.Store, *keyring.Keyring) {
	t.Helper()
	path := filepath.Join(dir, "master.key")
	require.NoError(t, kms.CreateFile(path))
	kek, err := kms.OpenFile(path)
	require.NoError(t, err)
	store := keystoretest.NewMemory()
	ring, err := keyring.New(store, kms.NewSet(kek), "test")
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	return store, ring
}

func keysOf(ring *keyring.Keyring) api.Keys {
	return func(ctx context.Context, id string) (seal.Keys, error) {
		tenant, err := ring.Tenant(ctx, id)
		if err != nil {
			return nil, err
		}
		return tenant, nil
	}
}

// events is an audit log in memory. Record fails if an error is set.
type events struct {
	mu  sync.Mutex
	all []audit.Event
	err error
}

func (r *events) Record(_ context.Context, list ...audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.all = append(r.all, list...)
	}
	return r.err
}

func (r *events) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// take returns the events since the last call.
func (r *events) take() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

func embedded(t *testing.T) kv.Store {
	t.Helper()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// onBoth runs a test over the embedded store and over a real Redis.
func onBoth(t *testing.T, test func(*testing.T, *service)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, start(t, embedded(t), nil))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		store := rediskv.New(redistest.Start(t).Client(t))
		test(t, start(t, store, nil))
	})
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request with the token. The headers are pairs of a name and a value, and may replace the token.
func (s *service) do(method, path string, body []byte, headers ...string) answer {
	s.t.Helper()
	request, err := http.NewRequest(method, s.http.URL, bytes.NewReader(body))
	require.NoError(s.t, err)
	request.URL.Opaque = "//" + request.URL.Host + path // sent unchanged
	request.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(headers); i += 2 {
		request.Header[headers[i]] = append([]string(nil), headers[i+1])
	}
	return s.send(request)
}

// object is the body of a request.
type object map[string]any

// changeKeys sends POST /v1/keys:VERB.
func (s *service) changeKeys(bearer, verb string, body object) answer {
	s.t.Helper()
	path, text, headers := keyChange(s.t, bearer, verb, body)
	return s.do("POST", path, text, headers...)
}

// keyChange returns the path, body and headers of POST /v1/keys:VERB.
func keyChange(t *testing.T, bearer, verb string, body object) (path string, text []byte, headers []string) {
	t.Helper()
	if body == nil {
		body = object{}
	}
	text, err := json.Marshal(body)
	require.NoError(t, err)
	return "/v1/keys:" + verb, text, []string{"Authorization", "Bearer " + bearer, "Content-Type", "application/json"}
}

// with returns a copy of the object with one member added or replaced.
func (o object) with(name string, value any) object {
	changed := object{name: value}
	for member, old := range o {
		if member != name {
			changed[member] = old
		}
	}
	return changed
}

func (s *service) send(request *http.Request) answer {
	s.t.Helper()
	response, err := s.http.Client().Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return answer{response, read}
}

// refused requires that the response is the problem document of a code.
func (a answer) refused(t *testing.T, code string) map[string]any {
	t.Helper()
	info := codes.Table[codes.Number(code)]
	require.Equal(t, info.Status, a.StatusCode, string(a.body))
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
	var problem map[string]any
	require.NoError(t, json.Unmarshal(a.body, &problem))
	require.Equal(t, code, problem["code"])
	require.EqualValues(t, info.Status, problem["status"])
	require.Equal(t, http.StatusText(info.Status), problem["title"])
	require.NotEmpty(t, problem["detail"])
	require.Equal(t, a.Header.Get("X-Request-Id"), problem["requestId"])
	require.Equal(t, info.Retry, a.Header.Get("Retry-After") != "")
	return problem
}

func (a answer) is(t *testing.T, status int) answer {
	t.Helper()
	require.Equal(t, status, a.StatusCode, string(a.body))
	return a
}

// soon waits until a condition holds, for at most five minutes.
func soon(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "it did not happen")
	}
}

// lines returns the request records of the log.
func (s *service) lines() []map[string]any {
	s.t.Helper()
	var all []map[string]any
	for line := range strings.Lines(s.log.String()) {
		var record map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &record))
		all = append(all, record)
	}
	return all
}

// failing is a store whose calls all return one error, or panic.
type failing struct {
	kv.Store
	err   error
	panic any
	wait  chan<- struct{} // receives a value for each call, which then waits until the context ends
}

func (f *failing) fail(ctx context.Context) error {
	if f.panic != nil {
		panic(f.panic)
	}
	if f.wait != nil {
		f.wait <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *failing) Read(ctx context.Context, _ []string, _ int) ([]kv.ReadResult, error) {
	return nil, f.fail(ctx)
}

func (f *failing) Write(ctx context.Context, _ []kv.Write) ([]bool, error) {
	return []bool{true}, f.fail(ctx)
}
func (f *failing) Ping(ctx context.Context) error { return f.fail(ctx) }
