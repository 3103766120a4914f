package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
)

// asset is one file of the demo. The map of them is all that can be asked for, so no path leads out of it.
type asset struct {
	mediaType string
	caching   string
	tag       string // quoted, of the plain content
	plain     []byte
	coded     [len(codings)][]byte // by the codings' order, nil where the build made none
}

// codings are the content codings the build may have made of a file, name and extension, the preferred one
// first: Brotli (RFC 7932), and gzip (RFC 1952), since browsers take Brotli over HTTPS only.
var codings = [...]struct{ name, extension string }{{"br", ".br"}, {"gzip", ".gz"}}

const (
	indexFile   = "index.html"
	hashedFiles = "assets/" // the build puts a hash of the content into these names
)

// notBuilt stands in for a page that was not built, as in a plain `go build`.
const notBuilt = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Coffer</title>
<h1>Coffer is running</h1>
<p>This binary was built without its demo page. <code>make run</code> builds the page and serves it here.</p>
<p>The API is under <code>/v1/cache/</code>.</p>
</html>
`

// mediaTypes by extension, fixed here since the operating system's own table differs from machine to machine.
var mediaTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".wasm": "application/wasm", ".webmanifest": "application/manifest+json", ".dcm": "application/dicom",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2",
}

// loadAssets reads the demo's files, each with its compressed form. Names that begin with a dot are not served.
func loadAssets(files fs.FS) (map[string]*asset, error) {
	assets := map[string]*asset{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") || isCoded(name) {
			return err
		}
		assets[name], err = loadAsset(files, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("api: read the demo: %w", err)
	}
	if assets[indexFile] == nil {
		assets[indexFile] = newAsset(indexFile, []byte(notBuilt))
	}
	return assets, nil
}

func loadAsset(files fs.FS, name string) (*asset, error) {
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	a := newAsset(name, plain)
	for i, coding := range codings {
		a.coded[i], err = fs.ReadFile(files, name+coding.extension)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return a, nil
}

func isCoded(name string) bool {
	for _, coding := range codings {
		if path.Ext(name) == coding.extension {
			return true
		}
	}
	return false
}

func newAsset(name string, plain []byte) *asset {
	hash := sha256.Sum256(plain)
	a := &asset{tag: hex.EncodeToString(hash[:16]), mediaType: mediaTypes[path.Ext(name)], caching: "no-cache", plain: plain}
	if a.mediaType == "" {
		a.mediaType = echo.MIMEOctetStream
	}
	if strings.HasPrefix(name, hashedFiles) {
		a.caching = "public, max-age=31536000, immutable"
	}
	return a
}

// getAsset serves a file of the demo, compressed where the client takes a coding that the build made.
func (s *server) getAsset(c echo.Context) error {
	request, header := c.Request(), c.Response().Header()
	name := strings.TrimPrefix(request.URL.Path, "/")
	if name == "" {
		name = indexFile
	}
	a := s.assets[name]
	if a == nil {
		return errRoute
	}
	body, tag := a.plain, `"`+a.tag+`"`
	for i, coding := range codings {
		if a.coded[i] == nil {
			continue
		}
		header.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
		if accepts(request.Header, coding.name) {
			body, tag = a.coded[i], `"`+a.tag+"-"+coding.name+`"`
			header.Set(echo.HeaderContentEncoding, coding.name)
			break
		}
	}
	header.Set("Etag", tag)
	header.Set(echo.HeaderCacheControl, a.caching)
	if matches(request.Header, tag) {
		header.Del(echo.HeaderContentEncoding)
		c.Response().WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set(echo.HeaderContentType, a.mediaType)
	return write(c, http.StatusOK, body)
}

// accepts reports whether a client takes a content coding (RFC 9110 section 12.5.3).
func accepts(header http.Header, coding string) bool {
	for _, one := range strings.Split(strings.Join(header["Accept-Encoding"], ","), ",") {
		name, weight, _ := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			return strings.Trim(strings.TrimSpace(weight), "q=0.") != "" || weight == ""
		}
	}
	return false
}

// matches reports whether the client has the content already (RFC 9110 section 13.1.2).
func matches(header http.Header, tag string) bool {
	for _, one := range strings.Split(strings.Join(header["If-None-Match"], ","), ",") {
		if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
			return true
		}
	}
	return false
}
