package jsonform

import (
	"encoding/json"
	"maps"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzMembers checks that Members agrees with encoding/json on every text without lone surrogates, which encoding/json
// replaces.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{}`, ` { } `, `{"a":1}`, `{"a":[1,{"b":"}"}],"c":null , "d":-1.5e3}`, `{"":"\u00e9\ud83d\ude00\/"}`, `{"a":1,"a":true}`,
		`{"\"":"\\"}`, `{"a":{"b":{"c":[]}}}`, `{"a" : "x" }`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]json.RawMessage
		if !wellFormed(text) || json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		_, _, ok := collect(text)
		require.True(t, ok)
		got := map[string]json.RawMessage{}
		for name, value := range members(trim(text)) {
			if !utf8.Valid(name) {
				return
			}
			got[string(name)] = value
		}
		require.Equal(t, want, got)
		for value := range maps.Values(got) {
			compareString(t, value)
		}
	})
}

func compareString(t *testing.T, value []byte) {
	var want string
	s, ok := unquote(value)
	if json.Unmarshal(value, &want) == nil && string(value) != "null" && ok && utf8.Valid(s) {
		require.Equal(t, want, string(s))
	}
}

func trim(text []byte) []byte {
	for text[0] != '{' {
		text = text[1:]
	}
	return text
}
