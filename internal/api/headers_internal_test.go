package api

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestParseContext(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		`{}`:                                {},
		` { "a" : "b" } `:                   {"a": "b"},
		`{"a":"1","b":"","":"c"}`:           {"a": "1", "b": "", "": "c"},
		`{"\u00e9":"\ud83d\ude00"}`:         {"é": "😀"},
		`{"a":"\\ud83d","b":"\"\\\u0041"}`:  {"a": `\ud83d`, "b": `"\A`},
		`{"a":"\u0000\n\ufffd\u007f"}`:      {"a": "\x00\n\uFFFD\x7f"},
		`{"a":"\ud83d\ude00\ud83d\ude00x"}`: {"a": "😀😀x"},
	} {
		got, err := parseContext([]string{text})
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	got, err := parseContext(nil)
	require.NoError(t, err)
	require.Nil(t, got)
}

func TestParseContextRefusesInvalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "null", "1", `"a"`, "[]", `["a"]`, "{", "}", `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":null}`, `{"a":true}`, `{"a":{}}`, `{"a":["b"]}`,
		`{"a":"b",}`, `{"a":"b"} x`, `{"a":"b"}{}`, `{a:"b"}`, `{'a':'b'}`, `{"a":"b","a":"b"}`, `{"a":"1","\u0061":"2"}`, `{"é":"b"}`, "{\"a\":\"\xe9\"}",
		`{"a":"\ud83d"}`, `{"a":"\ude00"}`, `{"a":"\ude00\ud83d"}`, `{"a":"\ud83dx\ude00"}`, `{"a":"\ud83d\n\ude00"}`, `{"\ud800":"b"}`,
		`{"a":"\ud83d\ud83d\ude00"}`, `{"a":"\ud83d\ude00\ude00"}`, `{"a":"\\\ud83d"}`, `{"a":"\u12"}`, `{"a":"\`, `{"a":"\ud83d\u`,
	} {
		_, err := parseContext([]string{text})
		require.ErrorIs(t, err, errContext, "%q", text)
	}
	_, err := parseContext([]string{`{}`, `{}`})
	require.ErrorIs(t, err, errContext)
}

func TestParseContextLimitsEntries(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range format.MaxContextEntries + 1 {
		b.WriteString(`,"` + strconv.Itoa(i) + `":""`)
	}
	_, err := parseContext([]string{"{" + b.String()[1:] + "}"})
	require.Equal(t, "too_large", codes.Of(err).Code)
}

// parseContext never panics. A context that it accepts is written as ASCII and read back unchanged.
func FuzzParseContext(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, `{"\u00e9":"\ud83d\ude00"}`, `{"a":"\ud83d`, `{"a":"\\ud83d"}`, `\ud83d\`, `\u`, `{"a":"\u007f\u2028<>&"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		context, err := parseContext([]string{text})
		if err != nil {
			return
		}
		for k, v := range context {
			require.True(t, utf8.ValidString(k) && utf8.ValidString(v))
		}
		written := formatContext(context)
		require.Equal(t, -1, strings.IndexFunc(written, func(r rune) bool { return r < 0x20 || r >= 0x7f }), "%q", written)
		again, err := parseContext([]string{written})
		require.NoError(t, err)
		require.Equal(t, context, again)
	})
}
