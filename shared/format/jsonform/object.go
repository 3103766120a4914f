package jsonform

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/format"
)

// wellFormed reports whether text is JSON in UTF-8. The functions below require it.
func wellFormed(text []byte) bool { return utf8.Valid(text) && json.Valid(text) }

// collect returns the raw values of the known members of a JSON object; of duplicate members it returns the last. others
// reports whether the object has other members. ok is false if text is not an object.
func collect(text []byte, known ...string) (values map[string][]byte, others, ok bool) {
	all, ok := Members(text)
	if !ok {
		return nil, false, false
	}
	values = make(map[string][]byte, len(known))
	for name, value := range all {
		if i := slices.Index(known, string(name)); i >= 0 {
			values[known[i]] = value
		} else {
			others = true
		}
	}
	return values, others, true
}

const blanks = " \t\r\n"

// Members iterates over the names and the raw values of a JSON object. Text must be valid JSON. Names and values alias
// text, except for names with escapes. A duplicate name is returned each time that it occurs. ok is false if text is not
// an object.
func Members(text []byte) (all iter.Seq2[[]byte, []byte], ok bool) {
	if text = bytes.TrimLeft(text, blanks); len(text) == 0 || text[0] != '{' {
		return nil, false
	}
	return members(text), true
}

// Elements iterates over the raw values of a JSON array. Text must be valid JSON. The values alias text. ok is false if
// text is not an array.
func Elements(text []byte) (all iter.Seq[[]byte], ok bool) {
	if text = bytes.TrimLeft(text, blanks); len(text) == 0 || text[0] != '[' {
		return nil, false
	}
	return func(yield func(value []byte) bool) {
		rest := bytes.TrimLeft(text[1:], blanks)
		for rest[0] != ']' {
			var value []byte
			if value, rest = cutValue(rest); !yield(value) {
				return
			}
			if rest = bytes.TrimLeft(rest, blanks); rest[0] == ',' {
				rest = bytes.TrimLeft(rest[1:], blanks)
			}
		}
	}, true
}

// Unquote returns the characters of a JSON string as UTF-8. The result aliases value if the string has no escapes. A lone
// surrogate becomes three bytes that are not UTF-8. ok is false if value is not a string.
func Unquote(value []byte) (s []byte, ok bool) { return unquote(value) }

func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest := bytes.TrimLeft(object[1:], blanks)
		for rest[0] != '}' {
			var quoted, value []byte
			quoted, rest = cutValue(rest)
			rest = bytes.TrimLeft(rest, blanks)
			value, rest = cutValue(bytes.TrimLeft(rest[1:], blanks)) // after the colon
			name, _ := unquote(quoted)
			if !yield(name, value) {
				return
			}
			if rest = bytes.TrimLeft(rest, blanks); rest[0] == ',' {
				rest = bytes.TrimLeft(rest[1:], blanks)
			}
		}
	}
}

// cutValue splits text after the value at its start.
func cutValue(text []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += quotedLen(text[i:]) - 1
			if depth == 0 {
				return text[:i+1], text[i+1:]
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return text[:i], text[i:] // the number or literal ends with its array or object
			}
			if depth == 0 {
				return text[:i+1], text[i+1:]
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return text[:i], text[i:]
			}
		}
	}
	return text, nil
}

// quotedLen returns the length of the string at the start of text, including its quotes.
func quotedLen(text []byte) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// unquote implements Unquote. encoding/json would replace lone surrogates by U+FFFD, so that different names would become
// equal.
func unquote(value []byte) (s []byte, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return nil, false
	}
	rest := value[1 : len(value)-1]
	i := bytes.IndexByte(rest, '\\')
	if i < 0 {
		return rest, true
	}
	s = make([]byte, 0, len(rest))
	for ; i >= 0; i = bytes.IndexByte(rest, '\\') {
		s = append(s, rest[:i]...)
		s, rest = unescape(s, rest[i:])
	}
	return append(s, rest...), true
}

// unescape appends the character of the escape at the start of text to s, and returns the rest of text.
func unescape(s, text []byte) (grown, rest []byte) {
	if text[1] != 'u' {
		i := bytes.IndexByte([]byte(`"\/bfnrt`), text[1])
		return append(s, "\"\\/\b\f\n\r\t"[i]), text[2:]
	}
	r := codeUnit(text)
	if text = text[6:]; !utf16.IsSurrogate(r) {
		return utf8.AppendRune(s, r), text
	}
	if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
		if pair := utf16.DecodeRune(r, codeUnit(text)); pair != utf8.RuneError {
			return utf8.AppendRune(s, pair), text[6:]
		}
	}
	return append(s, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F), text
}

// codeUnit returns the UTF-16 code unit of an escape \uXXXX.
func codeUnit(escape []byte) rune {
	v, _ := strconv.ParseUint(string(escape[2:6]), 16, 16) // cannot fail: json.Valid checked the digits
	return rune(v)
}

// memberReader reads typed members of an object. After the first member that is missing or invalid, failed stays true.
type memberReader struct {
	values map[string][]byte
	failed bool
}

func (r *memberReader) has(name string) bool { return r.values[name] != nil }

func (r *memberReader) text(name string) string {
	s, ok := unquote(r.values[name])
	if !ok || !utf8.Valid(s) {
		r.failed = true
		return ""
	}
	return string(s)
}

// integer reads a number from minimum to maximum as an IEEE 754 double (RFC 8259 section 6), so 1.0 equals 1.
func (r *memberReader) integer(name string, minimum, maximum uint64) uint64 {
	v, err := strconv.ParseFloat(string(r.values[name]), 64)
	if err != nil || v < float64(minimum) || v > float64(maximum) || v != float64(uint64(v)) {
		r.failed = true
		return 0
	}
	return uint64(v)
}

// flag reads a member that is true or missing.
func (r *memberReader) flag(name string) bool {
	if !r.has(name) {
		return false
	}
	r.failed = r.failed || string(r.values[name]) != "true"
	return true
}

// context reads an object of strings. It fails for more than MaxContextEntries entries, so that it does not allocate memory
// for them. Metadata.Header checks MaxContext.
func (r *memberReader) context(name string) map[string]string {
	object := r.values[name]
	if len(object) == 0 || object[0] != '{' {
		r.failed = true
		return nil
	}
	last := map[string][]byte{}
	for key, value := range members(object) {
		if _, known := last[string(key)]; !known && len(last) == format.MaxContextEntries {
			r.failed = true
			return nil
		}
		last[string(key)] = value
	}
	m := make(map[string]string, len(last))
	for key, value := range last {
		s, ok := unquote(value)
		r.failed = r.failed || !ok || !utf8.ValidString(key) || !utf8.Valid(s)
		m[key] = string(s)
	}
	return m
}
