// Package api is Coffer's HTTP face: what openapi.yaml describes, and the demo's files.
//
// What it guarantees: without a bearer token nothing under /v1 but the document can be learned, not even what
// exists; each tenant has its own keys and entries, and each operation needs the scopes that the document
// names; the use of a key is recorded before its result goes anywhere; every error is a problem document with
// a stable code and without anything secret; no request takes memory beyond its limit; and the log never
// holds a key, a value, a context, a token or a query. What net/http refuses before a handler runs (a request
// line that it cannot read, headers over their limit) it answers itself, in plain text.
package api

import (
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv"
)

// MaxHeader is the limit of a request's headers in bytes for http.Server.MaxHeaderBytes: the largest context,
// all of it escaped, and room for the rest.
const MaxHeader = 128 << 10

// Options is what a server is made of.
type Options struct {
	Store    kv.Store
	Keys     Keys
	Ring     *keyring.Keyring // that the keys are of
	Rotator  *rotation.Rotator
	Cache    []cache.Option
	Sessions []session.Option
	// Unencrypted says that the cache is cache.Unencrypted: packages are refused, and no key is used for values.
	Unencrypted bool
	Identity    identity.Authenticator
	Audit       audit.Recorder
	Trail       *audit.Reader // of what Audit records
	Refusals    *audit.Refusals
	Metrics     *metrics.Metrics
	Limits      *limit.Tenants
	Memory      *limit.Memory // what requests of more than 128 KiB hold together; nil is any number of bytes
	Failures    *limit.Failures
	Origins     []string           // whose pages may use the API, as browsers send them: https://app.example.com
	Proxies     []netip.Prefix     // that are believed in what X-Forwarded-For says
	Ready       *readiness.Monitor // what /readyz asks; nil means always ready
	Demo        fs.FS              // index.html at its top, if the demo was built
	Log         *slog.Logger
	LogShare    float64         // of the requests that succeed, which have a line in the log; those that fail all have one
	MaxBody     int64           // bytes of a body
	Pause       time.Duration   // before the answers to wrong tokens and to requests over a tenant's limits, which slows down who floods the server
	Timeout     time.Duration   // of what the store and the keys take for one request, the transfer of bodies excluded
	Ending      context.Context // done when the server begins to end; nil means never
}

type server struct {
	tenants    *tenants
	ring       *keyring.Keyring
	rotator    *rotation.Rotator
	identity   identity.Authenticator
	audit      audit.Recorder
	trail      *audit.Reader
	refusals   *audit.Refusals
	metrics    *metrics.Metrics
	limits     *limit.Tenants
	memory     *limit.Memory
	failures   *limit.Failures
	proxies    proxies
	origins    []string
	operations map[string]*operation // by method and route
	page       Page
	ready      *readiness.Monitor
	assets     map[string]*asset
	log        *slog.Logger
	logShare   float64
	ending     context.Context
	maxBody    int64
	timeout    time.Duration
	pauses     pauses

	unencrypted bool
}

// New makes the handler of everything that the server answers. It reads the demo's files once and fails where
// they cannot be read.
func New(o Options) (http.Handler, error) {
	if o.Memory == nil {
		o.Memory = limit.NewMemory(0, 0)
	}
	if o.Ending == nil {
		o.Ending = context.Background()
	}
	if o.Ready == nil {
		o.Ready = readiness.New(o.Log, readiness.ReuseTime)
	}
	assets, err := loadAssets(o.Demo)
	if err != nil {
		return nil, err
	}
	page, err := Docs()
	if err != nil {
		return nil, err
	}
	s := &server{
		tenants: newTenants(&o),
		ring:    o.Ring, rotator: o.Rotator, unencrypted: o.Unencrypted,
		identity: o.Identity, failures: o.Failures, limits: o.Limits, memory: o.Memory, origins: o.Origins, maxBody: o.MaxBody, timeout: o.Timeout,
		audit: o.Audit, trail: o.Trail, refusals: o.Refusals, proxies: o.Proxies, ending: o.Ending, metrics: o.Metrics, log: o.Log, logShare: o.LogShare, ready: o.Ready,
		pauses: newPauses(o.Pause), operations: map[string]*operation{}, page: page, assets: assets,
	}
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	e.Use(s.observe, secure, s.cors, s.authenticate)
	if err := s.route(e); err != nil {
		return nil, err
	}
	e.GET("/*", s.getAsset)
	e.HEAD("/*", s.getAsset)
	return e, nil
}

// pageHeaders confine what a browser does with what it shows: the page may run its own scripts and the
// WebAssembly core only, and no other page may embed it or hold a handle on it.
var pageHeaders = http.Header{
	"Content-Security-Policy": {"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
		"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"Referrer-Policy":              {"no-referrer"},
	"X-Content-Type-Options":       {"nosniff"},
}

// dataHeaders are for what takes a token, which no browser shows: should one do so, nothing in it runs, and
// nothing is kept.
var dataHeaders = http.Header{
	"Cache-Control":                {"no-store"},
	"Content-Security-Policy":      {"default-src 'none'; sandbox; frame-ancestors 'none'"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"X-Content-Type-Options":       {"nosniff"},
}

// secure sets the security headers on every answer.
func secure(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		headers := dataHeaders
		if callOf(c).open() {
			headers = pageHeaders
		}
		maps.Copy(c.Response().Header(), headers)
		return next(c)
	}
}
