// Package api is Coffer's HTTP face: the cache under /v1, the health of the process, and the demo's files.
//
// What it guarantees: nothing under /v1 is said to anyone without the bearer token, not even what exists; every error is a problem
// document with a stable code and without anything secret; no request takes memory beyond its limit; and the log
// never holds a key, a value, a context, a token or a query. What net/http refuses before a handler runs (a request line that it cannot
// read, headers over their limit) it answers itself, in plain text.
package api

import (
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/cache"
)

// MaxHeader is the limit of a request's headers in bytes for http.Server.MaxHeaderBytes: the largest context, all of it escaped, and
// room for the rest.
const MaxHeader = 128 << 10

// Options is what a server is made of.
type Options struct {
	Cache   *cache.Cache
	Tokens  Tokens
	Ready   []Check // what /readyz asks
	Demo    fs.FS   // index.html at its top, if the demo was built
	Log     *slog.Logger
	MaxBody int64         // bytes of a body
	Timeout time.Duration // of what the store and the keys take for one request, the transfer of bodies excluded
}

type server struct {
	cache   *cache.Cache
	tokens  Tokens
	ready   []Check
	assets  map[string]*asset
	log     *slog.Logger
	maxBody int64
	timeout time.Duration
}

// New makes the handler of everything that the server answers. It reads the demo's files once and fails where they cannot be read.
func New(o Options) (http.Handler, error) {
	assets, err := loadAssets(o.Demo)
	if err != nil {
		return nil, err
	}
	s := &server{
		cache: o.Cache, tokens: o.Tokens, ready: o.Ready, assets: assets,
		log: o.Log, maxBody: o.MaxBody, timeout: o.Timeout,
	}
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	e.Use(s.observe, secure, s.authenticate)

	e.GET("/livez", s.livez)
	e.GET("/readyz", s.readyz)
	e.HEAD("/livez", s.livez)
	e.HEAD("/readyz", s.readyz)

	e.PUT(cachePath+"*", s.putEntry)
	e.GET(cachePath+"*", s.getEntry)
	e.HEAD(cachePath+"*", s.headEntry)
	e.DELETE(cachePath+"*", s.deleteEntry)

	e.GET("/*", s.getAsset)
	e.HEAD("/*", s.getAsset)
	return e, nil
}

// limit bounds what the store and the keys may take for a request.
func (s *server) limit(c echo.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Request().Context(), s.timeout)
}

// securityHeaders confine what a browser does with an answer: the page may run its own scripts and the WebAssembly core only, and no other
// page may embed it or hold a handle on it.
var securityHeaders = http.Header{
	"Content-Security-Policy": {"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
		"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"Referrer-Policy":              {"no-referrer"},
	"X-Content-Type-Options":       {"nosniff"},
}

// secure sets the security headers on every answer.
func secure(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		maps.Copy(c.Response().Header(), securityHeaders)
		return next(c)
	}
}
