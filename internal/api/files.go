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

// file is a file of the demo in memory. Only the files in the map can be requested, so no path leads anywhere else.
//
// Echo's static middleware is not used: it knows neither compressed copies of files nor ETags.
type file struct {
	mediaType    string
	cacheControl string
	tag          string // of the uncompressed content
	content      []byte
	compressed   [len(codings)][]byte // in the order of codings; nil if the build made none
}

// codings are the content codings of which the build may have made copies, the preferred one first: Brotli (RFC 7932), and
// gzip (RFC 1952), because browsers accept Brotli only over HTTPS.
var codings = [...]struct{ name, extension string }{{"br", ".br"}, {"gzip", ".gz"}}

const (
	indexFile = "index.html"
	hashedDir = "assets/" // the build puts a hash of the content into the names of these files
)

// notBuiltPage is the index page of a binary without the demo, such as a plain `go build` makes.
const notBuiltPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Coffer</title>
<h1>Coffer is running</h1>
<p>This binary was built without its demo page. <code>make run</code> builds the page and serves it here.</p>
<p>The API is under <code>/v1/cache/</code>.</p>
</html>
`

// mediaTypes are the media types by extension. They are constant because the table of the operating system differs between
// machines.
var mediaTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".wasm": "application/wasm", ".webmanifest": "application/manifest+json", ".dcm": "application/dicom",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2",
}

// loadFiles reads the files of the demo and their compressed copies. It omits names that start with a dot.
func loadFiles(demo fs.FS) (map[string]*file, error) {
	files := map[string]*file{}
	err := fs.WalkDir(demo, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") || isCompressed(name) {
			return err
		}
		files[name], err = loadFile(demo, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("api: read the demo: %w", err)
	}
	if files[indexFile] == nil {
		files[indexFile] = newFile(indexFile, []byte(notBuiltPage))
	}
	return files, nil
}

func loadFile(demo fs.FS, name string) (*file, error) {
	content, err := fs.ReadFile(demo, name)
	if err != nil {
		return nil, err
	}
	f := newFile(name, content)
	for i, coding := range codings {
		f.compressed[i], err = fs.ReadFile(demo, name+coding.extension)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return f, nil
}

func isCompressed(name string) bool {
	for _, coding := range codings {
		if path.Ext(name) == coding.extension {
			return true
		}
	}
	return false
}

func newFile(name string, content []byte) *file {
	hash := sha256.Sum256(content)
	f := &file{tag: hex.EncodeToString(hash[:16]), mediaType: mediaTypes[path.Ext(name)], cacheControl: "no-cache", content: content}
	if f.mediaType == "" {
		f.mediaType = echo.MIMEOctetStream
	}
	if strings.HasPrefix(name, hashedDir) {
		f.cacheControl = "public, max-age=31536000, immutable"
	}
	return f
}

// getFile sends a file of the demo, compressed if the client accepts a coding that the build made.
func (s *server) getFile(c echo.Context) error {
	request, header := c.Request(), c.Response().Header()
	name := strings.TrimPrefix(request.URL.Path, "/")
	if name == "" {
		name = indexFile
	}
	f := s.files[name]
	if f == nil {
		return errRoute
	}
	body, tag := f.content, `"`+f.tag+`"`
	for i, coding := range codings {
		if f.compressed[i] == nil {
			continue
		}
		header.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
		if acceptsCoding(request.Header, coding.name) {
			body, tag = f.compressed[i], `"`+f.tag+"-"+coding.name+`"`
			header.Set(echo.HeaderContentEncoding, coding.name)
			break
		}
	}
	header.Set("Etag", tag)
	header.Set(echo.HeaderCacheControl, f.cacheControl)
	if matchesETag(request.Header, tag) {
		header.Del(echo.HeaderContentEncoding)
		c.Response().WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set(echo.HeaderContentType, f.mediaType)
	return write(c, http.StatusOK, body)
}

// acceptsCoding reports whether a client accepts a content coding (RFC 9110 section 12.5.3).
func acceptsCoding(header http.Header, coding string) bool {
	for _, one := range strings.Split(strings.Join(header["Accept-Encoding"], ","), ",") {
		name, weight, _ := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			return strings.Trim(strings.TrimSpace(weight), "q=0.") != "" || weight == ""
		}
	}
	return false
}

// matchesETag reports whether the client has the content already (RFC 9110 section 13.1.2).
func matchesETag(header http.Header, tag string) bool {
	for _, one := range strings.Split(strings.Join(header["If-None-Match"], ","), ",") {
		if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
			return true
		}
	}
	return false
}
