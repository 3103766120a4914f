package client_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// serve starts a whole server over the embedded store in the test's process, with an operator's token and a tenant
// "ended", which has a former key of packages. The clock of the server's rotations is some hours ahead, so that keys created
// now are old enough to be disabled.
func serve(t *testing.T) (url, bearer, operator string) {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlitekv.Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	path := filepath.Join(dir, "master.key")
	require.NoError(t, kms.CreateFile(path))
	kek, err := kms.OpenFile(path)
	require.NoError(t, err)
	keys, err := sqlitekeys.Open(filepath.Join(dir, "keys"))
	require.NoError(t, err)
	ring, err := keyring.New(keys, kms.NewSet(kek), "test")
	require.NoError(t, err)
	system, err := ring.System(t.Context())
	require.NoError(t, err)
	tokens, err := token.Open(t.Context(), token.Options{Store: keys, System: system, Audit: audit.Discard, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(tokens.Close)
	bearer, _, err = tokens.CreateFirst(context.Background(), token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	operator, _, err = tokens.Issue(context.Background(), token.Grant{Tenant: identity.EveryTenant, Scopes: identity.KeysAdmin}, token.Audit{Recorder: audit.Discard})
	require.NoError(t, err)
	ended, err := ring.Tenant(t.Context(), "ended")
	require.NoError(t, err)
	_, err = ended.Rotate(t.Context(), format.UseService, classify.PHI, nil)
	require.NoError(t, err)
	time.Sleep(2 * time.Millisecond) // keys are ordered by the millisecond of their creation
	_, err = ended.Rotate(t.Context(), format.UseService, classify.PHI, nil)
	require.NoError(t, err)
	auditKey := audit.NewKey(new(secret.Key))
	trail := filepath.Join(dir, "audit")
	log, err := audit.Open(trail, auditKey, audit.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	handler, err := api.New(api.Options{
		Store: store, Identity: tokens, Demo: fstest.MapFS{}, Audit: log, AuditReader: audit.NewReader(trail, auditKey), Log: slog.New(slog.DiscardHandler),
		Refusals: audit.NewRefusals(log, slog.New(slog.DiscardHandler)),
		Keyring:  ring,
		Rotator:  rotation.New(rotation.Options{Keyring: ring, Keystore: keys, Audit: log, MaxAge: time.Hour, Now: func() time.Time { return time.Now().Add(3 * time.Hour) }}),
		Keys:     func(ctx context.Context, id string) (seal.Keys, error) { return ring.Tenant(ctx, id) },
		Metrics:  metrics.New(api.Operations(), func(string) string { return "hash" }),
		Limits:   limit.NewTenants(limit.Quota{}, nil), Memory: limit.NewMemory(0, 0), Failures: limit.NewFailures(1e6, nil),
		MaxBody: 1 << 20, Timeout: time.Minute,
	})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, bearer, operator
}

func connect(t *testing.T, url, bearer string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(url, append(options, client.WithToken(bearer))...)
	require.NoError(t, err)
	return c
}

// The faults of a proxy: it responds instead of the server; it closes the connection before it forwards the request, after
// the server processed it, or in the middle of the response; or it sends nothing.
const (
	limited     = "429"
	busy        = "429 for a minute"
	unavailable = "503"
	late        = "504"
	page        = "page"
	cut         = "cut"
	lost        = "lost"
	half        = "half"
	silence     = "silence"
)

// proxy forwards requests to a server and simulates failures of a network.
type proxy struct {
	*httptest.Server
	mu     sync.Mutex
	faults []string
	seen   []string
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(to)
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := p.next(r)
		problem := func(status int, code string) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("X-Request-Id", "planned")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"title":"","status":%d,"code":%q,"detail":"planned","requestId":"planned"}`, status, code)
		}
		switch fault {
		case limited:
			w.Header().Set("Retry-After", "1")
			problem(429, "rate_limited")
		case busy:
			w.Header().Set("Retry-After", "60")
			problem(429, "rate_limited")
		case unavailable:
			problem(503, "store_unavailable")
		case late:
			problem(504, "timeout")
		case page:
			http.Error(w, "<h1>Not here</h1>", http.StatusNotFound)
		case cut:
			panic(http.ErrAbortHandler)
		case silence:
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case lost, half:
			answer := httptest.NewRecorder()
			forward.ServeHTTP(answer, r)
			if fault == half {
				for name, values := range answer.Header() {
					w.Header()[name] = values
				}
				w.WriteHeader(answer.Code)
				_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
				_ = http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) next(r *http.Request) (fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.RequestURI)
	if len(p.faults) > 0 {
		fault, p.faults = p.faults[0], p.faults[1:]
	}
	return fault
}

// plan sets the faults of the next requests.
func (p *proxy) plan(faults ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.seen = faults, nil
}

// requests returns the requests since the last call of plan.
func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}
