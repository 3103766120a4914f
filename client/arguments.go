package client

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
)

// invalid returns the error of an argument, which is refused before any request is sent. Its cause may be nil.
func invalid(detail string, cause error) *Error {
	return &Error{Detail: detail, code: "invalid_argument", cause: cause}
}

// errText reports text that encoding/json would silently replace, so that different names became one.
var errText = invalid("a key, a text or a context is not valid UTF-8", nil)

// fail keeps the first error of the request's arguments.
func (r *request) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// setName appends a key or a session id, already escaped, to the path. Without a name the path would be another operation's.
func (r *request) setName(name, escaped string) *request {
	switch {
	case name == "":
		r.fail(invalid("the key or session id is empty", nil))
	case !utf8.ValidString(name):
		r.fail(errText)
	}
	r.path += escaped
	return r
}

// setHeader sets a header. The value must not be empty and must be printable ASCII: net/http refuses some other values
// only when it sends them, and the server refuses the rest.
func (r *request) setHeader(name, value string) {
	if !printable(value, ' ') {
		r.fail(invalid("a value of the header "+name+" is empty or not printable ASCII", nil))
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

// printable reports whether text is not empty and all of it is ASCII from the character least to "~".
func printable(text string, least byte) bool {
	for i := range len(text) {
		if text[i] < least || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// ttlOf reads how long the server keeps an entry. Without the header it is 0, which means forever. Times above
// 292 years, the longest time.Duration, are that.
func ttlOf(response *http.Response) (time.Duration, error) {
	text := response.Header.Get("Coffer-TTL")
	if text == "" {
		return 0, nil
	}
	ttl, ok := seconds(text)
	if !ok {
		return 0, notCoffer(response.StatusCode)
	}
	return ttl, nil
}

// seconds reads a number of seconds. It returns the longest time.Duration for longer ones.
func seconds(text string) (d time.Duration, ok bool) {
	for _, digit := range []byte(text) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if text == "" || err == nil && n <= math.MaxInt64/int64(time.Second) {
		return time.Duration(n) * time.Second, text != ""
	}
	return math.MaxInt64, true // too many digits for an int64 are the only other error
}

// valueReader remembers why the caller's reader failed, since net/http reports that like a failed connection.
// It is safe for concurrent use, because net/http may still read after it returned.
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
