package api

import (
	"errors"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const cachePath = "/v1/cache/"

// key is the percent-decoded rest of the path: any UTF-8, slashes included, but not nothing.
func key(c *call) (string, error) {
	name := strings.TrimPrefix(c.Request().URL.Path, cachePath)
	switch {
	case name == "":
		return "", invalid("the key is missing: /v1/cache/{key}")
	case len(name) > format.MaxName:
		return "", format.ErrTooLarge
	case !utf8.ValidString(name):
		return "", invalid("the key is not valid UTF-8")
	}
	return name, nil
}

// query reads the parameters allowed, each given once at most. Others are refused: a misspelt class or ttl
// must not be ignored.
func query(c echo.Context, allowed ...string) (url.Values, error) {
	text := c.Request().URL.RawQuery
	if text == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalid("the query cannot be read")
	}
	for name, given := range values {
		if !slices.Contains(allowed, name) {
			return nil, invalid("unknown query parameter; known here: " + strings.Join(allowed, ", "))
		}
		if len(given) != 1 {
			return nil, invalid("a query parameter was given twice")
		}
	}
	return values, nil
}

// class reads the class of a write, which every write states.
func class(values url.Values) (classify.Class, error) {
	if !values.Has("class") {
		return 0, invalid("the class is missing: ?class=public, internal, confidential, pii or phi")
	}
	return classify.Parse(values.Get("class"))
}

// minClass reads the lowest class that a reader accepts; 0 accepts every class.
func minClass(values url.Values) (classify.Class, error) {
	if !values.Has("min_class") {
		return 0, nil
	}
	return classify.Parse(values.Get("min_class"))
}

var errTTL = invalid("the ttl is not valid: write it like 90s, 15m, 1h30m or 7d, or in whole seconds, above 0")

// ttl reads a time to live; none given is the class's own.
func ttl(values url.Values) (time.Duration, error) {
	if !values.Has("ttl") {
		return 0, nil
	}
	return parseTTL(values.Get("ttl"))
}

// newTTL reads the time to live of a change, which states that and nothing else.
func newTTL(c *call) (time.Duration, error) {
	values, err := query(c, "ttl")
	if err != nil {
		return 0, err
	}
	if !values.Has("ttl") {
		return 0, invalid("the ttl is missing: ?ttl=25m")
	}
	return parseTTL(values.Get("ttl"))
}

func parseTTL(text string) (time.Duration, error) {
	d, err := duration.Parse(text)
	if err != nil {
		var seconds int64
		if seconds, err = strconv.ParseInt(text, 10, 64); seconds > 0 && seconds <= math.MaxInt64/int64(time.Second) {
			d = time.Duration(seconds) * time.Second
		}
	}
	if err != nil || d <= 0 {
		return 0, errTTL
	}
	return d, nil
}

// body reads the request's body, bounded before: a small one into room of its announced size, a large one as it comes.
func (s *server) body(c *call) ([]byte, error) {
	r := c.Request()
	if r.Header.Get(echo.HeaderContentEncoding) != "" || r.Header.Get("Content-Range") != "" {
		return nil, invalid("Content-Encoding and Content-Range are not supported: the body is the value as it is")
	}
	if r.ContentLength > s.maxBody {
		return nil, errTooLarge
	}
	began := time.Now()
	var value []byte
	var err error
	switch n := r.ContentLength; {
	case n < 0:
		value, err = s.readUnknown(c, s.limited(c))
	case n > small:
		value, err = s.readLarge(c, s.limited(c), int(n))
	default:
		s.charge(c, int(n)/chargedBytes)
		value = slices.Grow(c.room(int(n)), int(n))[:n]
		_, err = io.ReadFull(s.limited(c), value)
	}
	if c.received = err == nil; time.Since(began) > s.timeout/100 {
		c.limited = nil
	}
	return value, bodyError(err)
}

// bodyError blames the client for a body that did not come, except for its size, its time and the end of the server, which have
// errors of their own.
func bodyError(err error) error {
	switch translated := translate(err); {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed):
		return errEnding
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowBody
	case translated != err || errors.Is(err, limit.ErrRateLimited):
		return translated
	}
	return errors.Join(errBody, err)
}

// wantsPackage reports whether the client asks for the package as it lies at rest.
func wantsPackage(r *http.Request) bool {
	for _, header := range r.Header["Accept"] {
		for _, one := range strings.Split(header, ",") {
			mediaType, parameters, err := mime.ParseMediaType(one)
			if err == nil && mediaType == packageType && parameters["q"] != "0" {
				return true
			}
		}
	}
	return false
}
