package api_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/web/demo"
)

var built = fstest.MapFS{
	"index.html":                 {Data: []byte("<!doctype html>")},
	"favicon.svg":                {Data: []byte("<svg/>")},
	"assets/index-BpYmaZSL.js":   {Data: []byte("script")},
	"assets/coffer-Ab12.wasm":    {Data: []byte("core")},
	"assets/coffer-Ab12.wasm.br": {Data: []byte("cr")},
	"assets/coffer-Ab12.wasm.gz": {Data: []byte("cgz")},
	"odd.bin":                    {Data: []byte("odd")},
	".keep":                      {Data: nil},
	"lonely.br":                  {Data: []byte("x")},
	"lonely.gz":                  {Data: []byte("x")},
}

func serveDemo(t *testing.T) *service {
	return start(t, embedded(t), func(o *api.Options) { o.Demo = built })
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := serveDemo(t)
	const immutable = "public, max-age=31536000, immutable"
	for path, want := range map[string]struct{ file, mediaType, caching string }{
		"/":                         {"index.html", "text/html; charset=utf-8", "no-cache"},
		"/index.html":               {"index.html", "text/html; charset=utf-8", "no-cache"},
		"/favicon.svg":              {"favicon.svg", "image/svg+xml", "no-cache"},
		"/assets/index-BpYmaZSL.js": {"assets/index-BpYmaZSL.js", "text/javascript; charset=utf-8", immutable},
		"/assets/coffer-Ab12.wasm":  {"assets/coffer-Ab12.wasm", "application/wasm", immutable},
		"/odd.bin":                  {"odd.bin", "application/octet-stream", "no-cache"},
	} {
		got := s.do("GET", path, nil, "Authorization", "", "Accept-Encoding", "identity").is(t, 200)
		require.Equal(t, built[want.file].Data, got.body)
		require.Equal(t, want.mediaType, got.Header.Get("Content-Type"))
		require.Equal(t, want.caching, got.Header.Get("Cache-Control"))
		require.EqualValues(t, len(got.body), got.ContentLength)
		require.Empty(t, got.Header.Get("Content-Encoding"))

		tag := got.Header.Get("ETag")
		for _, header := range []string{tag, `"x", W/` + tag} {
			same := s.do("GET", path, nil, "If-None-Match", header, "Accept-Encoding", "identity").is(t, 304)
			require.Empty(t, same.body)
			require.Equal(t, tag, same.Header.Get("ETag"))
		}
		s.do("GET", path, nil, "If-None-Match", `"other"`, "Accept-Encoding", "identity").is(t, 200)
		head := s.do("HEAD", path, nil, "Accept-Encoding", "identity").is(t, 200)
		require.Empty(t, head.body)
		require.Equal(t, got.ContentLength, head.ContentLength)
	}
}

func TestCompressedAssets(t *testing.T) {
	t.Parallel()
	s := serveDemo(t)
	const path = "/assets/coffer-Ab12.wasm"
	plain := s.do("GET", path, nil, "Accept-Encoding", "identity").is(t, 200)
	require.Equal(t, "Accept-Encoding", plain.Header.Get("Vary"))
	tags := map[string]string{"": plain.Header.Get("ETag")}
	for accept, coding := range map[string]string{
		"br": "br", "gzip, deflate, br, zstd": "br", "gzip;q=0.5,BR;q=0.9": "br", "br;q=1": "br",
		"gzip": "gzip", "gzip, deflate": "gzip", "GZIP;q=0.5": "gzip", "br;q=0, gzip": "gzip", "x-br, gzip": "gzip",
		"br;q=0": "", "br; q=0.000, gzip;q=0": "", "brotli": "", "x-gzip": "", "deflate": "",
	} {
		got := s.do("GET", path, nil, "Accept-Encoding", accept).is(t, 200)
		require.Equal(t, map[string]string{"br": "cr", "gzip": "cgz", "": "core"}[coding], string(got.body), accept)
		require.Equal(t, coding, got.Header.Get("Content-Encoding"), accept)
		require.Equal(t, "Accept-Encoding", got.Header.Get("Vary"))
		require.Equal(t, "application/wasm", got.Header.Get("Content-Type"))
		require.EqualValues(t, len(got.body), got.ContentLength)
		tag := got.Header.Get("ETag")
		if tags[coding] == "" {
			tags[coding] = tag
		}
		require.Equal(t, tags[coding], tag, accept)
		same := s.do("GET", path, nil, "Accept-Encoding", accept, "If-None-Match", tag).is(t, 304)
		require.Empty(t, same.Header.Get("Content-Encoding"))
	}
	require.NotEqual(t, tags["br"], tags[""])
	require.NotEqual(t, tags["gzip"], tags[""])
	require.NotEqual(t, tags["br"], tags["gzip"])
}

func TestOnlyDemoFilesAreServed(t *testing.T) {
	t.Parallel()
	s := serveDemo(t)
	for _, path := range []string{
		"/.keep", "/assets", "/assets/", "/lonely.br", "/lonely.gz", "/assets/coffer-Ab12.wasm.br", "/assets/coffer-Ab12.wasm.gz", "/none", "//index.html", "/../api.go", "/%2e%2e/api.go", "/assets/../index.html",
		"/%00", "/%FF",
	} {
		s.do("GET", path, nil).refused(t, "unknown_route")
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := serveDemo(t)
	for _, path := range []string{"/", "/none", "/livez", "/v1/openapi.yaml"} {
		header := s.do("GET", path, nil).Header
		csp := header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'self'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "img-src 'self' blob: data:", "frame-ancestors 'none'",
			"object-src 'none'", "base-uri 'none'",
		} {
			require.Contains(t, csp+";", directive+";")
		}
		require.NotContains(t, csp, "unsafe-inline")
		require.Equal(t, "same-origin", header.Get("Cross-Origin-Opener-Policy"))
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	}
}

// The headers of every response that requires a token forbid caching and running its content, for values and errors alike.
func TestSecurityHeadersOfData(t *testing.T) {
	s := serveDemo(t)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("<script>"), "Content-Type", "text/html").is(t, 204)
	for _, path := range []string{"/v1/cache/k", "/v1/cache/none", "/v1/cache", "/v1/none"} {
		header := s.do("GET", path, nil).Header
		require.Equal(t, "default-src 'none'; sandbox; frame-ancestors 'none'", header.Get("Content-Security-Policy"))
		require.Equal(t, "no-store", header.Get("Cache-Control"))
		require.Equal(t, "same-origin", header.Get("Cross-Origin-Resource-Policy"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	}
}

// A binary without the demo page describes how to build it.
func TestIndexPageWithoutDemo(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	got := s.do("GET", "/", nil).is(t, 200)
	require.Equal(t, "text/html; charset=utf-8", got.Header.Get("Content-Type"))
	require.Contains(t, string(got.body), "make run")
}

// The embedded files can be served, whether or not the demo was built.
func TestDemoIsEmbedded(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), func(o *api.Options) { o.Demo = demo.Files() })
	s.do("GET", "/", nil).is(t, 200)
	s.do("GET", "/.keep", nil).refused(t, "unknown_route")
}
