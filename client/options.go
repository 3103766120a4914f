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
	maxContext          = 128 << 10 // limit of a context's JSON in bytes
)

// WriteOption is an option of Set and SetStream.
type WriteOption interface{ onWrite(*request) }

// ReadOption is an option of Get, GetPackage, GetStream and Head.
type ReadOption interface{ onRead(*request) }

type writeOption func(*request)

func (o writeOption) onWrite(r *request) { o(r) }

type readOption func(*request)

func (o readOption) onRead(r *request) { o(r) }

// Condition is an option that makes a call depend on the current entry. IfMatch, IfNoneMatch and IfAbsent create it.
type Condition struct{ name, tag string }

func (o Condition) onWrite(r *request) { r.setHeader(o.name, o.tag) }
func (o Condition) onRead(r *request)  { r.setHeader(o.name, o.tag) }

// IfMatch makes a call return ErrPrecondition if the entry does not have this ETag or, with "*", if there is no entry.
func IfMatch(etag string) Condition { return Condition{"If-Match", etag} }

// IfNoneMatch makes a read return ErrNotModified if the entry still has this ETag.
func IfNoneMatch(etag string) Condition { return Condition{"If-None-Match", etag} }

// IfAbsent makes Set and SetStream return ErrPrecondition if there is an entry.
func IfAbsent() Condition { return Condition{"If-None-Match", "*"} }

// TTL sets the time until the value expires, which must be above 0. The default is the longest time that the class allows.
func TTL(d time.Duration) WriteOption {
	return writeOption(func(r *request) { r.setTTL(d) })
}

// ContentType sets the media type of the value, in printable ASCII. It is returned with the value. The default is
// application/octet-stream.
func ContentType(mediaType string) WriteOption {
	return writeOption(func(r *request) { r.setHeader("Content-Type", mediaType) })
}

// Context sets texts that are authenticated with the value and stored readable with it.
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

// asciiJSON returns the context as JSON in ASCII, the only text that is safe in a header.
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
