// Package api serves Coffer's HTTP API, which openapi.yaml describes, and the files of the demo.
//
// Guarantees:
//   - A request without a bearer token learns nothing about what exists under /v1, apart from the OpenAPI document.
//   - Each tenant has its own keys and entries. Each operation requires the scopes that routes.go lists.
//   - The use of a key is recorded in the audit log before the result leaves the server.
//   - Every error is a problem document (RFC 9457) with a stable code and without secrets.
//   - No request uses more memory than its limit.
//   - The log contains no key, value, context, token or query.
//
// Requests that net/http refuses before a handler runs, such as a malformed request line or headers over the limit,
// are answered by net/http in plain text.
package api

import (
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

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

// MaxHeader is the limit of a request's headers in bytes, for http.Server.MaxHeaderBytes. The largest context fits, with
// all its characters escaped, and leaves space for the other headers.
const MaxHeader = 128 << 10

// Options configures New. The caller closes what it passes.
type Options struct {
	Store    kv.Store
	Keys     Keys
	Keyring  *keyring.Keyring // the keyring of Keys
	Rotator  *rotation.Rotator
	Cache    []cache.Option
	Sessions []session.Option
	// Unencrypted means that Cache has the option cache.Unencrypted. Requests for packages are refused, and values are
	// stored without a key.
	Unencrypted    bool
	Identity       identity.Authenticator
	Audit          audit.Recorder
	AuditReader    *audit.Reader // reads what Audit records
	Refusals       *audit.Refusals
	Metrics        *metrics.Metrics
	Limits         *limit.Tenants
	Memory         *limit.Memory // shared by requests that need more than 128 KiB; nil means no limit
	Failures       *limit.Failures
	AllowedOrigins []string           // origins of pages that may use the API, as browsers send them: https://app.example.com
	TrustedProxies []netip.Prefix     // networks whose X-Forwarded-For is used
	Ready          *readiness.Monitor // for /readyz; nil means always ready
	Demo           fs.FS              // has index.html at the top if the demo was built
	Log            *slog.Logger
	LogShare       float64         // share of the successful requests that are logged, 0 to 1; failed requests are always logged
	MaxBody        int64           // limit of a request body in bytes
	RefusalDelay   time.Duration   // average delay of the response to a wrong token or to a request over its tenant's limits, which slows floods down
	Timeout        time.Duration   // limit for the store and the keys during one request; the transfer of bodies does not count
	Shutdown       context.Context // done when the server starts to shut down; nil means never
}

type server struct {
	tenants     *tenants
	keyring     *keyring.Keyring
	rotator     *rotation.Rotator
	unencrypted bool

	identity identity.Authenticator
	limits   *limit.Tenants
	failures *limit.Failures
	proxies  trustedProxies
	delay    refusalDelay
	origins  []string

	audit       audit.Recorder
	auditReader *audit.Reader
	refusals    *audit.Refusals
	metrics     *metrics.Metrics
	log         *slog.Logger
	logShare    float64
	ready       *readiness.Monitor

	memory   *limit.Memory
	maxBody  int64
	timeout  time.Duration
	shutdown context.Context

	routes map[string]*route // by method and Echo's path
	page   docsPage
	files  map[string]*file
}

// New returns the handler of the whole server. It reads the files of the demo once, and returns an error if they cannot be
// read. The handler starts no goroutine.
func New(o Options) (http.Handler, error) {
	if o.Memory == nil {
		o.Memory = limit.NewMemory(0, 0)
	}
	if o.Shutdown == nil {
		o.Shutdown = context.Background()
	}
	if o.Ready == nil {
		o.Ready = readiness.New(o.Log, readiness.ReuseTime)
	}
	files, err := loadFiles(o.Demo)
	if err != nil {
		return nil, err
	}
	page, err := renderDocs()
	if err != nil {
		return nil, err
	}
	s := &server{
		tenants: newTenants(&o), keyring: o.Keyring, rotator: o.Rotator, unencrypted: o.Unencrypted,
		identity: o.Identity, limits: o.Limits, failures: o.Failures, proxies: o.TrustedProxies, delay: newRefusalDelay(o.RefusalDelay), origins: o.AllowedOrigins,
		audit: o.Audit, auditReader: o.AuditReader, refusals: o.Refusals, metrics: o.Metrics, log: o.Log, logShare: o.LogShare, ready: o.Ready,
		memory: o.Memory, maxBody: o.MaxBody, timeout: o.Timeout, shutdown: o.Shutdown,
		routes: map[string]*route{}, page: page, files: files,
	}
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.sendProblem(c, err) }
	e.Use(s.observe, middleware.RecoverWithConfig(panicRecovery), s.setSecurityHeaders, s.cors, s.authenticate)
	s.addRoutes(e)
	e.GET("/*", s.getFile)
	e.HEAD("/*", s.getFile)
	return e, nil
}

// pageHeaders restrict what a browser does with a page of the server: it may run only its own scripts and the WebAssembly
// core, and no other page may embed it or keep a reference to its window.
var pageHeaders = http.Header{
	"Content-Security-Policy": {"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
		"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"Referrer-Policy":              {"no-referrer"},
	"X-Content-Type-Options":       {"nosniff"},
}

// dataHeaders are the headers of responses that require a token. Browsers do not display such a response. If one does,
// nothing in the response runs, and no cache stores it.
var dataHeaders = http.Header{
	"Cache-Control":                {"no-store"},
	"Content-Security-Policy":      {"default-src 'none'; sandbox; frame-ancestors 'none'"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"X-Content-Type-Options":       {"nosniff"},
}

// setSecurityHeaders is the middleware that sets pageHeaders or dataHeaders.
func (s *server) setSecurityHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		headers := dataHeaders
		if callOf(c).isPublic() {
			headers = pageHeaders
		}
		maps.Copy(c.Response().Header(), headers)
		return next(c)
	}
}

// The methods and headers that pages of allowed origins may use. Tokens are sent in a header and never in a cookie, so
// credentials are not allowed.
var (
	corsMethods        = strings.Join([]string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}, ", ")
	corsRequestHeaders = strings.Join([]string{
		"Accept", "Authorization", "Content-Type", contextHeader, "If-Match", "If-None-Match", sessionHeader, "X-Request-Id",
	}, ", ")
	corsResponseHeaders = strings.Join([]string{
		"ETag", "Coffer-Class", "Coffer-Code", contextHeader, contextLengthHeader, "Coffer-Encrypted-At", "Coffer-Key-Id", "Coffer-TTL", "Retry-After", "X-Request-Id",
	}, ", ")
)

// cors is the middleware of the CORS protocol (Fetch standard). It answers preflight requests. Pages of other origins get no
// CORS header, so browsers keep the response from them.
//
// Echo's CORS middleware is not used: it answers every OPTIONS request, also without a token and from other origins, and it
// treats * and ? in an origin as wildcards.
func (s *server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		origin, header := c.Request().Header.Get(echo.HeaderOrigin), c.Response().Header()
		if len(s.origins) > 0 {
			header.Add(echo.HeaderVary, echo.HeaderOrigin)
		}
		if origin == "" || !slices.Contains(s.origins, origin) {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowOrigin, origin)
		header.Set(echo.HeaderAccessControlExposeHeaders, corsResponseHeaders)
		header.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if c.Request().Method != http.MethodOptions || c.Request().Header.Get(echo.HeaderAccessControlRequestMethod) == "" {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowMethods, corsMethods)
		header.Set(echo.HeaderAccessControlAllowHeaders, corsRequestHeaders)
		header.Set(echo.HeaderAccessControlMaxAge, "600")
		return c.NoContent(http.StatusNoContent)
	}
}
