package format

import (
	"iter"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/wire"
)

// Context is the caller's authenticated description of a value: a map of strings, kept in its canonical encoding
// (SPEC.md section 3.2). The zero Context is empty. A Context is immutable and always valid, and == compares contexts.
type Context struct{ encoded string }

// NewContext returns the context with the entries of m. It returns ErrInvalid for text that is not UTF-8, and
// ErrTooLarge for more than MaxContextEntries entries or MaxContext bytes.
func NewContext(m map[string]string) (Context, error) {
	pairs := make([]string, 0, 2*len(m))
	for k, v := range m {
		pairs = append(pairs, k, v)
	}
	return NewContextFromPairs(pairs...)
}

// NewContextFromPairs returns the context with the given entries: each key is followed by its value. It sorts pairs in
// place. Beyond the errors of NewContext, it returns ErrInvalid for a duplicate key and for a key without a value.
func NewContextFromPairs(pairs ...string) (Context, error) {
	if len(pairs) > 2*MaxContextEntries {
		return Context{}, ErrTooLarge
	}
	size := 2 * len(pairs)
	for i, text := range pairs {
		if !utf8.ValidString(text) {
			return Context{}, ErrInvalid
		}
		if size += len(text); size > MaxContext {
			return Context{}, ErrTooLarge
		}
		if i%2 > 0 && !insertLastPair(pairs[:i+1]) {
			return Context{}, ErrInvalid
		}
	}
	if len(pairs)%2 > 0 {
		return Context{}, ErrInvalid
	}
	b := make([]byte, 0, size)
	for _, text := range pairs {
		b = wire.AppendText(b, text)
	}
	return Context{string(b)}, nil
}

// insertLastPair moves the last pair to its position among the others, which are sorted. It returns false if another pair
// has the same key. This insertion sort handles at most MaxContextEntries pairs; the sort of package slices would take a
// twentieth of the browser core's own code.
//
//go:noinline
func insertLastPair(pairs []string) bool {
	end := len(pairs) - 2
	key, value, i := pairs[end], pairs[end+1], end
	for i > 0 && pairs[i-2] > key {
		i -= 2
	}
	copy(pairs[i+2:], pairs[i:end])
	pairs[i], pairs[i+1] = key, value
	return i == 0 || pairs[i-2] != key
}

// parseContext returns a copy of the context that b encodes. It returns ErrMalformed if b is not a canonical encoding.
func parseContext(b []byte) (Context, error) {
	if len(b) > MaxContext {
		return Context{}, ErrMalformed
	}
	encoded, last := string(b), ""
	rest := encoded
	for n := 0; len(rest) > 0; n++ {
		key, afterKey, ok := cutString16(rest)
		value, afterValue, ok2 := cutString16(afterKey)
		if !ok || !ok2 || n == MaxContextEntries || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return Context{}, ErrMalformed
		}
		if n > 0 && last >= key {
			return Context{}, ErrMalformed
		}
		rest, last = afterValue, key
	}
	return Context{encoded}, nil
}

// Size returns the length of the context's encoding in bytes.
func (c Context) Size() int { return len(c.encoded) }

// Append appends the context's encoding to dst: the keys and values, each after its 16-bit length, in ascending order of
// the keys' UTF-8 bytes.
func (c Context) Append(dst []byte) []byte { return append(dst, c.encoded...) }

// All iterates over the keys and values, in ascending order of the keys' UTF-8 bytes.
func (c Context) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := c.encoded; len(rest) > 0; {
			var key, value string
			key, rest, _ = cutString16(rest) // always succeeds: the encoding was checked
			value, rest, _ = cutString16(rest)
			if !yield(key, value) {
				return
			}
		}
	}
}

// Map returns the context as a map, or nil if it is empty.
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

// Get returns the value of a key, and whether the context contains the key.
func (c Context) Get(key string) (string, bool) {
	for k, v := range c.All() {
		if k == key {
			return v, true
		}
	}
	return "", false
}

// cutString16 splits s after the field at its start, which is a 16-bit length and that many bytes. ok is false if s is too
// short.
//
//go:noinline
func cutString16(s string) (field, rest string, ok bool) {
	if len(s) < 2 {
		return "", "", false
	}
	end := 2 + int(s[0])<<8 + int(s[1])
	if len(s) < end {
		return "", "", false
	}
	return s[2:end], s[end:], true
}
