package client

import (
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
)

// invalid returns the error for an invalid argument, which is returned before a request is sent. The cause may be nil.
func invalid(detail string, cause error) *Error {
	return &Error{Detail: detail, code: "invalid_argument", cause: cause}
}

// errText is the error for text that encoding/json would silently change, so that different names could become equal.
var errText = invalid("a key, a text or a context is not valid UTF-8", nil)

// fail keeps the first error of the request's arguments.
func (r *request) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// appendKey appends the escaped key of an entry to the path. Without a key the path would be that of another operation.
func (r *request) appendKey(key string) *request {
	switch {
	case key == "":
		r.fail(invalid("the key is empty", nil))
	case !utf8.ValidString(key):
		r.fail(errText)
	}
	r.path += url.PathEscape(key)
	return r
}

// setHeader sets a header. The value must be printable ASCII and not empty: net/http refuses some other values when it sends
// them, and the server refuses the rest.
func (r *request) setHeader(name, value string) {
	if !isPrintable(value, ' ') {
		r.fail(invalid("the header "+name+" is empty or not printable ASCII", nil))
	}
	r.header.Set(name, value)
}

// setTTL sets a time to live, which must be above 0.
func (r *request) setTTL(d time.Duration) {
	if d <= 0 {
		r.fail(invalid("the time to live is not above 0", nil))
	}
	r.query.Set("ttl", d.String())
}

// setClass sets a parameter that names a class.
func (r *request) setClass(name string, class classify.Class) {
	if !class.Valid() {
		r.fail(invalid(classify.ErrUnknown.Error(), classify.ErrUnknown))
	}
	r.query.Set(name, class.String())
}

// isPrintable reports whether text is not empty and consists of ASCII characters from first to "~".
func isPrintable(text string, first byte) bool {
	for i := range len(text) {
		if text[i] < first || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// parseTTL returns the time until an entry expires, from the header Coffer-TTL. 0 means that it does not expire. Times above 292
// years, the longest time.Duration, become that.
func parseTTL(response *http.Response) (time.Duration, error) {
	text := response.Header.Get("Coffer-TTL")
	if text == "" {
		return 0, nil
	}
	ttl, ok := parseSeconds(text)
	if !ok {
		return 0, notCoffer(response.StatusCode)
	}
	return ttl, nil
}

// parseSeconds parses a number of seconds. A number above the longest time.Duration becomes that.
func parseSeconds(text string) (d time.Duration, ok bool) {
	for _, digit := range []byte(text) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if text == "" || err == nil && n <= math.MaxInt64/int64(time.Second) {
		return time.Duration(n) * time.Second, text != ""
	}
	return math.MaxInt64, true // the only other error of ParseInt is a number above int64
}

// valueReader keeps the error of the caller's reader, which net/http reports like a failed connection. It is safe for concurrent
// use, because net/http may read after it has returned.
type valueReader struct {
	io.Reader
	failed atomic.Pointer[error]
}

// Read implements io.Reader.
func (v *valueReader) Read(p []byte) (int, error) {
	n, err := v.Reader.Read(p)
	if err != nil && err != io.EOF {
		v.failed.Store(&err)
	}
	return n, err
}

// err returns the error of the caller's reader, if it failed.
func (v *valueReader) err() error {
	if v == nil {
		return nil
	}
	if cause := v.failed.Load(); cause != nil {
		return invalid("the value cannot be read", *cause)
	}
	return nil
}
