package client

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	contextHeader       = "Coffer-Context"
	contextLengthHeader = "Coffer-Context-Length"
	maxContext          = 128 << 10 // bytes of a context's JSON
)

// WriteOption is an option of Set and SetStream.
type WriteOption interface{ onWrite(*request) }

// ReadOption is an option of Get, GetPackage, GetStream and Head.
type ReadOption interface{ onRead(*request) }

type writeOption func(*request)

func (o writeOption) onWrite(r *request) { o(r) }

type readOption func(*request)

func (o readOption) onRead(r *request) { o(r) }

// Condition makes a call take effect only if the entry is the expected one.
type Condition struct{ name, tag string }

func (o Condition) onWrite(r *request) { r.setHeader(o.name, o.tag) }
func (o Condition) onRead(r *request)  { r.setHeader(o.name, o.tag) }

// IfMatch demands that the entry has this ETag or, with "*", that there is an entry; otherwise the call
// returns ErrPrecondition.
func IfMatch(etag string) Condition { return Condition{"If-Match", etag} }

// IfNoneMatch makes a read return ErrNotModified, without the value, if the entry still has this ETag.
func IfNoneMatch(etag string) Condition { return Condition{"If-None-Match", etag} }

// IfAbsent makes Set store only if there is no entry; otherwise it returns ErrPrecondition.
func IfAbsent() Condition { return Condition{"If-None-Match", "*"} }

// TTL sets how long a value is kept, which must be above 0. The default is as long as its class allows.
func TTL(d time.Duration) WriteOption {
	return writeOption(func(r *request) { r.setTTL(d) })
}

// ContentType sets the value's media type, printable ASCII, which comes back with it. The default is
// application/octet-stream.
func ContentType(mediaType string) WriteOption {
	return writeOption(func(r *request) { r.setHeader("Content-Type", mediaType) })
}

// Context sets texts that are authenticated with the value and are readable beside it at rest.
func Context(context map[string]string) WriteOption {
	return writeOption(func(r *request) {
		if err := checkContext(context); err != nil {
			r.fail(err)
		} else if len(context) > 0 {
			r.header.Set(contextHeader, asciiJSON(context))
		}
	})
}

// MinClass makes a read return ErrClassTooLow if the class of the value is lower.
func MinClass(class classify.Class) ReadOption {
	return readOption(func(r *request) { r.setClass("min_class", class) })
}

func checkContext(context map[string]string) error {
	for name, text := range context {
		if !utf8.ValidString(name) || !utf8.ValidString(text) {
			return errText
		}
	}
	return nil
}

// asciiJSON is JSON in ASCII, the only text that a header carries safely.
func asciiJSON(context map[string]string) string {
	text, _ := json.Marshal(context) // a map of strings cannot fail
	var b strings.Builder
	for _, r := range string(text) {
		if r < 0x7f {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			const digits = "0123456789abcdef"
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(digits[unit>>shift&0xf])
			}
		}
	}
	return b.String()
}
