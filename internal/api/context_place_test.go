package api_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// Clients that limit the size of headers can read every context that can be written: a long context is sent at the start
// of the body.
func TestLongContexts(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		for name, value := range map[string]string{"none": "", "short": "a", "just fits": strings.Repeat("x", 2048-8), "long": strings.Repeat("x", 2048-7), "longest": strings.Repeat("中", (format.MaxContext-8)/3)} {
			context := map[string]string{}
			if value != "" {
				context["k"] = value
			}
			text, err := json.Marshal(context)
			require.NoError(t, err)
			header := strings.ReplaceAll(string(text), "中", `\u4e2d`)
			s.do("PUT", "/v1/cache/k?class=phi", []byte("value"), "Coffer-Context", header).is(t, 204)
			long := name == "long" || name == "longest"
			for _, accept := range []string{"*/*", packageType} {
				plain := s.do("GET", "/v1/cache/k", nil, "Accept", accept).is(t, 200)
				for _, got := range []answer{plain, s.do("HEAD", "/v1/cache/k", nil, "Accept", accept).is(t, 200)} {
					size := 0
					for name, values := range got.Header {
						size += len(name) + len(values[0]) + 4
					}
					require.Less(t, size, 4<<10)
					require.Equal(t, long, got.Header.Get("Coffer-Context-Length") != "", name)
					require.Equal(t, name != "none" && !long, got.Header.Get("Coffer-Context") != "", name)
				}
				got := s.do("GET", "/v1/cache/k?context=body", nil, "Accept", accept).is(t, 200)
				n, err := strconv.Atoi(got.Header.Get("Coffer-Context-Length"))
				require.NoError(t, err)
				require.Equal(t, header, string(got.body[:n]))
				require.Equal(t, plain.body, got.body[n:])
				require.Empty(t, got.Header.Get("Coffer-Context"))
			}
		}
		s.do("GET", "/v1/cache/k?context=header", nil).refused(t, "invalid_argument")
		s.do("PUT", "/v1/cache/k?class=phi&context=body", nil).refused(t, "invalid_argument")
	})
}
