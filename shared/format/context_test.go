package format_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// rawHeader returns the encoding of plainHeader with the given bytes in place of the encoded context.
func rawHeader(t *testing.T, context string) []byte {
	b := encode(t, plainHeader())[:atContext]
	b = binary.BigEndian.AppendUint16(b, uint16(len(context)))
	return append(b, context...)
}

// entry returns the encoding of one entry.
func entry(key, value string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(key)))
	b = binary.BigEndian.AppendUint16(append(b, key...), uint16(len(value)))
	return string(append(b, value...))
}

func TestContextRoundTrip(t *testing.T) {
	r := newRandom(t)
	for range 2000 {
		m := randomMap(r, 8)
		c, err := format.NewContext(m)
		require.NoError(t, err)
		h := plainHeader()
		h.Context = c
		parsed, _, err := format.ParseHeader(encode(t, h))
		require.NoError(t, err)
		require.True(t, parsed.Context == c)
		if len(m) == 0 {
			require.Nil(t, c.Map())
			continue
		}
		require.Equal(t, m, c.Map())
		require.Equal(t, m, maps.Collect(c.All()))
		for k, v := range m {
			got, ok := c.Get(k)
			require.True(t, ok)
			require.Equal(t, v, got)
		}
		_, ok := c.Get("absent")
		require.False(t, ok)
	}
}

func TestContextDoesNotDependOnMapOrder(t *testing.T) {
	m := map[string]string{}
	for i := range format.MaxContextEntries {
		m[fmt.Sprint(i)] = strings.Repeat("v", i)
	}
	first, err := format.NewContext(m)
	require.NoError(t, err)
	for range 50 { // each iteration over a map has a random order
		again, err := format.NewContext(m)
		require.NoError(t, err)
		require.True(t, first == again)
	}
}

// U+FF5E precedes U+1F600 by UTF-8 bytes, but follows it by UTF-16 code units, which is the order of JavaScript.
func TestContextIsSortedByUTF8Bytes(t *testing.T) {
	c, err := format.NewContext(map[string]string{"😀": "1", "～": "2", "z": "3", "": "4", "a\x00": "5", "a": "6"})
	require.NoError(t, err)
	var keys []string
	for k := range c.All() {
		keys = append(keys, k)
	}
	require.Equal(t, []string{"", "a", "a\x00", "z", "～", "😀"}, keys)
	require.True(t, slices.IsSorted(keys))

	_, _, err = format.ParseHeader(rawHeader(t, entry("～", "2")+entry("😀", "1")))
	require.NoError(t, err)
	_, _, err = format.ParseHeader(rawHeader(t, entry("😀", "1")+entry("～", "2")))
	require.ErrorIs(t, err, format.ErrMalformed)
}

func TestContextAllStopsEarly(t *testing.T) {
	c, err := format.NewContext(map[string]string{"a": "1", "b": "2"})
	require.NoError(t, err)
	n := 0
	for range c.All() {
		n++
		break
	}
	require.Equal(t, 1, n)
}

func TestContextKeepsEmptyKeyAndValue(t *testing.T) {
	c, err := format.NewContext(map[string]string{"": ""})
	require.NoError(t, err)
	require.Equal(t, 4, c.Size())
	v, ok := c.Get("")
	require.True(t, ok)
	require.Empty(t, v)
	empty, err := format.NewContext(map[string]string{})
	require.NoError(t, err)
	require.NotEqual(t, empty, c)
	require.Equal(t, format.Context{}, empty)
}

func TestNewContextEnforcesLimits(t *testing.T) {
	entries := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = ""
		}
		return m
	}
	big := func(size int) map[string]string { return map[string]string{"k": strings.Repeat("v", size-5)} }
	split := func(size int) map[string]string {
		return map[string]string{"a": strings.Repeat("v", size/2-5), "b": strings.Repeat("v", size-size/2-5)}
	}
	for _, c := range []struct {
		name string
		m    map[string]string
		want error
	}{
		{"maximum number of entries", entries(format.MaxContextEntries), nil},
		{"one entry too many", entries(format.MaxContextEntries + 1), format.ErrTooLarge},
		{"maximum size", big(format.MaxContext), nil},
		{"one byte too large", big(format.MaxContext + 1), format.ErrTooLarge},
		{"maximum size in two entries", split(format.MaxContext), nil},
		{"one byte too large in two entries", split(format.MaxContext + 1), format.ErrTooLarge},
		{"length that does not fit 16 bits", big(1<<16 + 10), format.ErrTooLarge},
		{"long key", map[string]string{strings.Repeat("k", 1<<16): ""}, format.ErrTooLarge},
		{"invalid key", map[string]string{"\xff": ""}, format.ErrInvalid},
		{"invalid value", map[string]string{"k": "\xc3"}, format.ErrInvalid},
		{"lone surrogate", map[string]string{"k": "\xed\xa0\x80"}, format.ErrInvalid},
		{"overlong", map[string]string{"k": "\xc0\x80"}, format.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			context, err := format.NewContext(c.m)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.Zero(t, context)
				return
			}
			require.NoError(t, err)
			require.LessOrEqual(t, context.Size(), format.MaxContext)
			require.Equal(t, c.m, context.Map())
		})
	}
}

func TestParseHeaderChecksContext(t *testing.T) {
	var full strings.Builder // 64 entries in order
	for i := range format.MaxContextEntries {
		full.WriteString(entry(fmt.Sprintf("%02d", i), ""))
	}
	longest := entry("k", strings.Repeat("v", format.MaxContext-5))
	for _, c := range []struct {
		name, context string
		ok            bool
	}{
		{"no entry", "", true},
		{"one entry", entry("a", "1"), true},
		{"ascending", entry("a", "1") + entry("b", "0"), true},
		{"descending", entry("b", "0") + entry("a", "1"), false},
		{"duplicate key", entry("a", "1") + entry("a", "2"), false},
		{"duplicate empty key", entry("", "1") + entry("", "2"), false},
		{"empty key after another key", entry("a", "1") + entry("", "2"), false},
		{"maximum number of entries", full.String(), true},
		{"one entry too many", full.String() + entry("99", ""), false},
		{"maximum size", longest, true},
		{"one byte too large", entry("k", strings.Repeat("v", format.MaxContext-4)), false},
		{"one entry too large", longest + entry("l", ""), false},
		{"key without value", "\x00\x01a", false},
		{"half a length", "\x00", false},
		{"key longer than its bytes", "\x00\x05a\x00\x00", false},
		{"value longer than its bytes", "\x00\x01a\x00\x02b", false},
		{"trailing byte", entry("a", "1") + "\x00", false},
		{"invalid key", entry("\xff", ""), false},
		{"invalid value", entry("a", "\xed\xb0\x80"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, n, err := format.ParseHeader(rawHeader(t, c.context))
			if !c.ok {
				require.ErrorIs(t, err, format.ErrMalformed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, format.HeaderSize+len(c.context), n)
			require.Equal(t, len(c.context), h.Context.Size())
		})
	}
}

func TestParseHeaderRefusesContextPastEnd(t *testing.T) {
	b := rawHeader(t, entry("a", "1"))
	b[atContext+1]++
	_, _, err := format.ParseHeader(b)
	require.ErrorIs(t, err, format.ErrMalformed)
}

func TestParsedContextDoesNotAliasInput(t *testing.T) {
	b := rawHeader(t, entry("a", "1"))
	h, _, err := format.ParseHeader(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, map[string]string{"a": "1"}, h.Context.Map())
}
