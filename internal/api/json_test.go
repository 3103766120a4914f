package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An error about a JSON body uses the names of the schema and quotes no input.
func TestBodiesAreRefusedByName(t *testing.T) {
	s := start(t, embedded(t), nil)
	const planted = "PLANTED"
	for _, c := range []struct{ path, body, detail string }{
		{"encrypt", `{"text":"PLANTED"}`, `the member "class" is missing; known here: class, text, data, context`},
		{"encrypt", `{"class":"phi","text":"x","PLANTED":1}`, "unknown member; known here: class, text, data, context"},
		{"encrypt", `{"class":"phi","a":1,"b":1,"c":1,"PLANTED":1}`, "unknown member; known here: class, text, data, context"},
		{"encrypt", `{"class":"phi","class":"phi","text":"PLANTED"}`, "an object has the same member twice"},
		{"encrypt", `{"class":"phi","text":["PLANTED"]}`, `the member "text" is not a string`},
		{"encrypt", `{"class":"phi","data":"PLANTED!"}`, `the member "data" is not base64 (RFC 4648 section 4, padded, without line breaks)`},
		{"encrypt", `{"class":"phi","text":"x","context":{"PLANTED":1}}`, "a member of the context is not a string"},
		{"encrypt", `["PLANTED"]`, "a JSON object is required, as in the operation's schema"},
		{"encrypt:batch", `{"items":[{"class":"phi","text":"x"},{"class":"phi"}]}`, "items[1]: the value must be in text or in data, but not in both"},
		{"cache:batch", `{"operations":{"op":"PLANTED"}}`, `the member "operations" is not an array`},
		{"cache:batch", `{"operations":[{"op":"get","key":"PLANTED"},{"op":"set","key":"PLANTED"}]}`, `operations[1]: the member "value" is missing; known here: op, key, value, class, contentType, ttl, context`},
		{"cache:batch", `{"operations":[{"op":"get","key":"PLANTED","ttl":"1h"}]}`, "operations[0]: unknown member; known here: op, key, minClass"},
		{"cache:batch", `{"operations":[{"op":"PLANTED","key":"k"}]}`, "operations[0]: op is get, set or delete"},
		{"sessions", `{"ttl":"1h"}`, `the member "data" is missing; known here: data, ttl`},
		{"sessions", `{"data":"PLANTED"}`, "a JSON object is required, as in the operation's schema"},
	} {
		got := s.do("POST", "/v1/"+c.path, []byte(c.body), "Content-Type", "application/json").refused(t, "invalid_argument")
		require.Equal(t, c.detail, got["detail"], c.body)
		require.NotContains(t, fmt.Sprint(got), planted)
	}
	long := `{"operations":[{"op":"get","key":"` + strings.Repeat("k", 1025) + `"}]}`
	require.Contains(t, s.do("POST", "/v1/cache:batch", []byte(long), "Content-Type", "application/json").refused(t, "too_large")["detail"], "operations[0]: ")
	require.Equal(t, "the ttl is missing: ?ttl=25m", s.do("PATCH", "/v1/cache/k", nil).refused(t, "invalid_argument")["detail"])
}
