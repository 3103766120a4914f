package api

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/coffer-storage/coffer/shared/format"
)

const (
	contextHeader = "Coffer-Context"
	// contextLengthHeader has the length of a context that is not in contextHeader.
	contextLengthHeader = "Coffer-Context-Length"
	// maxContextHeader bounds the context in an answer's headers: Node.js reads 16 KiB of headers, some proxies 4 KiB.
	maxContextHeader = 2 << 10
)

var errContext = invalid(`the header Coffer-Context is not valid: one JSON object of strings, each key once, in ASCII (\u00e9 for é)`)

// parseContext reads the header Coffer-Context. It is strict where a lenient reader would change what is
// authenticated: bytes beyond ASCII, which clients send in different encodings, keys given twice and lone
// surrogates are refused.
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
		key, err := decoder.Token()
		name, ok := key.(string)
		value, err2 := decoder.Token()
		text, ok2 := value.(string)
		if err != nil || err2 != nil || !ok || !ok2 {
			return nil, errContext
		}
		if _, twice := context[name]; twice {
			return nil, errContext
		}
		if context[name] = text; len(context) > format.MaxContextEntries {
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

// hasLoneSurrogate finds escapes that encoding/json would silently replace by U+FFFD. The text need not be JSON.
func hasLoneSurrogate(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, ok := escaped(text[i:])
		if !ok {
			i++ // an escape of one character
			continue
		}
		if utf16.IsSurrogate(r) {
			low, _ := escaped(text[min(i+6, len(text)):])
			if utf16.DecodeRune(r, low) == '\uFFFD' {
				return true
			}
			i += 6
		}
		i += 5
	}
	return false
}

// escaped reads the \uXXXX that text begins with.
func escaped(text string) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	return rune(n), err == nil
}

// formatContext writes a context as parseContext reads it, in the order of the keys.
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
