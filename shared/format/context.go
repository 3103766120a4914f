package format

import (
	"encoding/binary"
	"iter"
	"unicode/utf8"
)

// Context is the authenticated, caller-chosen description of a value: a map of strings in its canonical
// encoding. The zero Context is empty. A Context is immutable and valid by construction; two are equal if and
// only if == says so.
type Context struct{ encoded string }

// NewContext encodes m, sorted by the keys' UTF-8 bytes. It returns ErrInvalid for text that is not UTF-8 and
// ErrTooLarge beyond MaxContextEntries or MaxContext.
func NewContext(m map[string]string) (Context, error) {
	if len(m) == 0 {
		return Context{}, nil
	}
	if len(m) > MaxContextEntries {
		return Context{}, ErrTooLarge
	}
	var sorted [MaxContextEntries]string
	keys, size := sorted[:0], 0
	for k, v := range m {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return Context{}, ErrInvalid
		}
		if len(k) > MaxContext || len(v) > MaxContext {
			return Context{}, ErrTooLarge
		}
		keys = insertSorted(keys, k)
		size += 4 + len(k) + len(v)
	}
	if size > MaxContext {
		return Context{}, ErrTooLarge
	}
	b := make([]byte, 0, size)
	for _, k := range keys {
		b = appendString16(b, k)
		b = appendString16(b, m[k])
	}
	return Context{string(b)}, nil
}

// insertSorted adds a key in its place. At most MaxContextEntries are sorted, and package slices' sort would
// be a twentieth of the browser core's own code.
func insertSorted(keys []string, key string) []string {
	keys = append(keys, key)
	i := len(keys) - 1
	for ; i > 0 && keys[i-1] > key; i-- {
		keys[i] = keys[i-1]
	}
	keys[i] = key
	return keys
}

// parseContext checks that b is a canonical context and copies it.
func parseContext(b []byte) (Context, error) {
	if len(b) == 0 {
		return Context{}, nil
	}
	if len(b) > MaxContext {
		return Context{}, ErrMalformed
	}
	rest, last := b, []byte(nil)
	for n := 0; len(rest) > 0; n++ {
		key, afterKey, ok := cut16(rest)
		value, afterValue, ok2 := cut16(afterKey)
		if !ok || !ok2 || n == MaxContextEntries || !utf8.Valid(key) || !utf8.Valid(value) {
			return Context{}, ErrMalformed
		}
		if n > 0 && string(last) >= string(key) {
			return Context{}, ErrMalformed
		}
		rest, last = afterValue, key
	}
	return Context{string(b)}, nil
}

// Size is the length of the context's encoding in bytes.
func (c Context) Size() int { return len(c.encoded) }

// All iterates over keys and values in the order of the keys' UTF-8 bytes.
func (c Context) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := c.encoded; len(rest) > 0; {
			var key, value string
			key, rest = cutString16(rest)
			value, rest = cutString16(rest)
			if !yield(key, value) {
				return
			}
		}
	}
}

// Map returns the context as a map; nil if it is empty.
func (c Context) Map() map[string]string {
	if c.encoded == "" {
		return nil
	}
	m := map[string]string{}
	for k, v := range c.All() {
		m[k] = v
	}
	return m
}

// Get returns the value of one key.
func (c Context) Get(key string) (string, bool) {
	for k, v := range c.All() {
		if k == key {
			return v, true
		}
	}
	return "", false
}

func appendString16(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// cut16 takes a 16-bit length and that many bytes off b; ok is false where b is too short.
func cut16(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// cutString16 is cut16 for an encoding that was checked before.
func cutString16(s string) (field, rest string) {
	n := int(s[0])<<8 | int(s[1])
	return s[2 : 2+n], s[2+n:]
}
