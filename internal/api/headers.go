package api

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/format"
)

// parseMediaType checks the Content-Type of a value. It returns an empty string for application/octet-stream, which is the
// default.
func parseMediaType(text string) (string, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "", invalid("the content type is not printable ASCII")
		}
	}
	switch {
	case len(text) > format.MaxMediaType:
		return "", format.ErrTooLarge
	case text == echo.MIMEOctetStream:
		return "", nil
	}
	return text, nil
}

// acceptsPackage reports whether the client asks for the package instead of the value.
func acceptsPackage(r *http.Request) bool {
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

// maxCondition is the limit of If-Match and If-None-Match in bytes.
const maxCondition = 4096

var errETags = invalid(`If-Match and If-None-Match take ETags such as "nJ2bJ_PbZG0jEUC9", or *`)

// etagList is the content of If-Match or If-None-Match.
type etagList struct {
	present bool
	any     bool // the list is *
	strong  []string
	weak    []string
}

// parseETags parses If-Match or If-None-Match (RFC 9110 section 13.1).
func parseETags(header http.Header, name string) (list etagList, err error) {
	text := strings.Join(header.Values(name), ",")
	if list.present = len(header.Values(name)) > 0; !list.present {
		return list, nil
	}
	if list.any = strings.TrimSpace(text) == "*"; list.any {
		return list, nil
	}
	if len(text) > maxCondition {
		return list, errETags
	}
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		opaque, weak := strings.CutPrefix(one, "W/")
		if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
			return list, errETags
		}
		tag := strings.TrimSuffix(opaque[1:len(opaque)-1], packageSuffix)
		if weak {
			list.weak = append(list.weak, tag)
		} else {
			list.strong = append(list.strong, tag)
		}
	}
	return list, nil
}

// parseIfMatch parses If-Match. A weak tag never matches.
func parseIfMatch(header http.Header) (cache.Condition, error) {
	list, err := parseETags(header, "If-Match")
	if err != nil || !list.present {
		return cache.Condition{}, err
	}
	if list.any {
		return cache.Condition{Present: true}, nil
	}
	return cache.Condition{Present: true, Tags: append([]string{}, list.strong...)}, nil
}

// parseChangeCondition parses the condition of a deletion or of a new time to live. If-None-Match is refused, because ignoring
// it would do what the client wanted to prevent.
func parseChangeCondition(header http.Header) (cache.Condition, error) {
	if len(header.Values("If-None-Match")) > 0 {
		return cache.Condition{}, invalid("a deletion and a change of the ttl take If-Match only")
	}
	return parseIfMatch(header)
}

// parseWriteCondition parses the condition of a write: If-Match, or If-None-Match: *.
func parseWriteCondition(header http.Header) (cache.Condition, error) {
	condition, err := parseIfMatch(header)
	noneMatch := header.Values("If-None-Match")
	if err != nil || len(noneMatch) == 0 {
		return condition, err
	}
	if len(noneMatch) > 1 || strings.TrimSpace(noneMatch[0]) != "*" || condition.Present {
		return condition, invalid("a write takes If-Match, or If-None-Match: *, but not both")
	}
	return cache.Condition{Absent: true}, nil
}

// readCondition is the condition of a read.
type readCondition struct{ match, noneMatch etagList }

func parseReadCondition(header http.Header) (r readCondition, err error) {
	if r.match, err = parseETags(header, "If-Match"); err != nil {
		return r, err
	}
	r.noneMatch, err = parseETags(header, "If-None-Match")
	return r, err
}

// check compares the condition with the ETag of the entry. It reports whether the client has this entry already, and returns
// cache.ErrPrecondition if the client wants another one.
func (r *readCondition) check(tag string) (notModified bool, err error) {
	if r.match.present && !r.match.any && !slices.Contains(r.match.strong, tag) {
		return false, cache.ErrPrecondition
	}
	n := &r.noneMatch
	return n.any || slices.Contains(n.strong, tag) || slices.Contains(n.weak, tag), nil
}

// checkMissing returns the error of a read that failed with err. If the entry is missing and the client wants a certain one, it
// is cache.ErrPrecondition.
func (r *readCondition) checkMissing(err error) error {
	if err == cache.ErrNotFound && r.match.present {
		return cache.ErrPrecondition
	}
	return err
}

const (
	contextHeader = "Coffer-Context"
	// contextLengthHeader has the length of a context that is not in contextHeader.
	contextLengthHeader = "Coffer-Context-Length"
	// maxContextHeader is the longest context in a response header. Node.js reads at most 16 KiB of headers, and some proxies
	// 4 KiB.
	maxContextHeader = 2 << 10
)

var errContext = invalid(`the header Coffer-Context is not valid: one JSON object of strings, each key once, in ASCII (\u00e9 for é)`)

// parseContext parses the header Coffer-Context. The context is authenticated, so nothing is corrected silently: parseContext
// refuses bytes outside ASCII, which clients send in different encodings, duplicate keys and lone surrogates.
func parseContext(values []string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || !isASCII(values[0]) || hasLoneSurrogate(values[0]) {
		return nil, errContext
	}
	decoder := json.NewDecoder(strings.NewReader(values[0]))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, errContext
	}
	context := map[string]string{}
	for decoder.More() {
		keyToken, err := decoder.Token()
		key, ok := keyToken.(string)
		valueToken, err2 := decoder.Token()
		value, ok2 := valueToken.(string)
		if err != nil || err2 != nil || !ok || !ok2 {
			return nil, errContext
		}
		if _, duplicate := context[key]; duplicate {
			return nil, errContext
		}
		if context[key] = value; len(context) > format.MaxContextEntries {
			return nil, format.ErrTooLarge
		}
	}
	if t, err := decoder.Token(); err != nil || t != json.Delim('}') {
		return nil, errContext
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errContext
	}
	return context, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasLoneSurrogate reports whether text has an escaped surrogate without its pair, which encoding/json would silently replace
// by U+FFFD. The text need not be valid JSON.
func hasLoneSurrogate(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, ok := parseEscape(text[i:])
		if !ok {
			i++ // an escape of one character
			continue
		}
		if utf16.IsSurrogate(r) {
			low, _ := parseEscape(text[min(i+6, len(text)):])
			if utf16.DecodeRune(r, low) == '\uFFFD' {
				return true
			}
			i += 6
		}
		i += 5
	}
	return false
}

// parseEscape parses the \uXXXX that text starts with.
func parseEscape(text string) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	return rune(n), err == nil
}

// formatContext returns the JSON of a context in ASCII, with sorted keys.
func formatContext(context map[string]string) string {
	text, _ := json.Marshal(context) // a map of strings cannot fail
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			b.WriteByte(byte(r))
		case r <= 0xffff:
			writeEscape(&b, r)
		default:
			high, low := utf16.EncodeRune(r)
			writeEscape(&b, high)
			writeEscape(&b, low)
		}
	}
	return b.String()
}

func writeEscape(b *strings.Builder, r rune) {
	const digits = "0123456789abcdef"
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(digits[r>>shift&0xf])
	}
}
