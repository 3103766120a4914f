package api_test

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const record = "Jane Doe, born 1970-01-01"

// stored returns the store's key of an entry of the default tenant.
func stored(key string) string { return "coffer/default/cache/" + key }

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		for _, class := range classify.All {
			path := "/v1/cache/patient-1?class=" + class.String()
			s.do("PUT", path+"&ttl=1h", []byte(record), "Coffer-Context", `{"ward":"\u00e9\ud83d\ude00","a":"<b>"}`).is(t, 204)

			got := s.do("GET", "/v1/cache/patient-1", nil).is(t, 200)
			require.Equal(t, record, string(got.body))
			require.Equal(t, "application/octet-stream", got.Header.Get("Content-Type"))
			require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
			require.Equal(t, class.String(), got.Header.Get("Coffer-Class"))
			require.JSONEq(t, `{"ward":"é😀","a":"<b>"}`, got.Header.Get("Coffer-Context"))
			require.Equal(t, -1, strings.IndexFunc(got.Header.Get("Coffer-Context"), func(r rune) bool { return r >= 0x7f }))
			require.Equal(t, int64(len(record)), got.ContentLength)
			at, err := time.Parse(time.RFC3339, got.Header.Get("Coffer-Encrypted-At"))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), at, time.Minute)

			head := s.do("HEAD", "/v1/cache/patient-1", nil).is(t, 200)
			require.Empty(t, head.body)
			requireTTL(t, head, 3600)
			head.Header.Del("Coffer-TTL")
			for _, header := range []http.Header{got.Header, head.Header} {
				header.Del("Date")
				header.Del("X-Request-Id")
			}
			require.Equal(t, got.Header, head.Header)
		}
		s.do("DELETE", "/v1/cache/patient-1", nil).is(t, 204)
		s.do("DELETE", "/v1/cache/patient-1", nil).refused(t, "not_found")
		s.do("GET", "/v1/cache/patient-1", nil).refused(t, "not_found")
		require.Empty(t, s.do("HEAD", "/v1/cache/patient-1", nil).is(t, 404).body)
	})
}

func TestEmptyAndLargest(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		s.do("PUT", "/v1/cache/empty?class=phi", nil).is(t, 204)
		got := s.do("GET", "/v1/cache/empty", nil).is(t, 200)
		require.Empty(t, got.body)
		require.Empty(t, got.Header.Get("Coffer-Context"))

		large := bytes.Repeat([]byte("large"), maxBody/5)
		s.do("PUT", "/v1/cache/large?class=phi", large).is(t, 204)
		require.True(t, bytes.Equal(large, s.do("GET", "/v1/cache/large", nil).is(t, 200).body))
	})
}

// Concurrent requests do not share memory, whatever the size of their values.
func TestValuesOfManySizes(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 12 {
					value := bytes.Repeat([]byte{byte(i), byte(j)}, (12<<10)*(j+1)/2-i)
					path := "/v1/cache/size-" + strconv.Itoa(i)
					put := s.do("PUT", path+"?class=phi", value, "Content-Type", "image/png")
					got := s.do("GET", path, nil)
					assert.Equal(t, []int{204, 200}, []int{put.StatusCode, got.StatusCode})
					assert.True(t, bytes.Equal(value, got.body))
				}
			})
		}
		wg.Wait()
	})
}

// The default content type is not stored, so HEAD can report the size of the value.
func TestOctetStreamIsDefaultType(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		for contentType, size := range map[string]int64{"application/octet-stream": int64(len(record)), "text/plain": -1} {
			s.do("PUT", "/v1/cache/k?class=phi", []byte(record), "Content-Type", contentType).is(t, 204)
			require.Equal(t, size, s.do("HEAD", "/v1/cache/k", nil).is(t, 200).ContentLength)
			require.Equal(t, contentType, s.do("GET", "/v1/cache/k", nil).is(t, 200).Header.Get("Content-Type"))
		}
	})
}

// The key is the percent-decoded rest of the path, even if it contains slashes, dots or control characters.
func TestKeys(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		paths := map[string]string{
			"a/b/c": "a/b/c", "a%2Fb": "a/b", "%2F": "/", "//": "//", "..": "..", "../../etc/passwd": "../../etc/passwd",
			"%2e%2e%2fx": "../x", ".": ".", "a/../b": "a/../b", "%00": "\x00", "a%00b": "a\x00b", "%0d%0aX: y": "\r\nX: y", "%C3%A9": "é",
			"é": "é", "%F0%9F%98%80": "😀", "e%CC%81": "e\u0301", "%25": "%", "%252F": "%2F", "a+b": "a+b", "a%20b": "a b", "a;b": "a;b",
			"a%3Fclass=public": "a?class=public", "%23": "#", "*": "*", ":id": ":id", strings.Repeat("k", 1024): strings.Repeat("k", 1024),
			strings.Repeat("%C3%A9", 512): strings.Repeat("é", 512),
		}
		for path, key := range paths {
			if strings.Contains(path, " ") {
				path = strings.ReplaceAll(path, " ", "%20")
			}
			s.do("PUT", "/v1/cache/"+path+"?class=phi", []byte(key)).is(t, 204)
			got := s.do("GET", "/v1/cache/"+path, nil).is(t, 200)
			require.Equal(t, key, string(got.body))
			again := s.do("GET", "/v1/cache/"+url.PathEscape(key), nil).is(t, 200)
			require.Equal(t, key, string(again.body), "with every character escaped")
			there, err := kv.Exists(t.Context(), s.store, stored(key))
			require.NoError(t, err)
			require.True(t, there, "%q", key)
		}
	})
}

func TestInvalidKeysAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for path, code := range map[string]string{
		"/v1/cache/": "invalid_argument", "/v1/cache/%FF": "invalid_argument", "/v1/cache/%C3": "invalid_argument",
		"/v1/cache/" + strings.Repeat("k", 1025): "too_large", "/v1/cache/" + strings.Repeat("%C3%A9", 513): "too_large",
		"/v1/caches": "unknown_route", "/v1/cache%2Fx": "unknown_route", "/V1/cache/x": "unknown_route", "/v1": "unknown_route", "/v1/": "unknown_route",
	} {
		s.do("GET", path, nil).refused(t, code)
	}
	s.do("PUT", "/v1/cache/?class=phi", nil).refused(t, "invalid_argument")
	s.do("DELETE", "/v1/cache/%FF", nil).refused(t, "invalid_argument")
	s.do("HEAD", "/v1/cache/%FF", nil).is(t, 400)
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	for query, code := range map[string]string{
		"": "invalid_argument", "?class": "invalid_argument", "?class=": "invalid_argument", "?class=PHI": "invalid_argument",
		"?class=secret": "invalid_argument", "?class=phi&class=public": "invalid_argument", "?Class=phi": "invalid_argument",
		"?class=phi&tll=1h": "invalid_argument", "?class=phi;ttl=1h": "invalid_argument", "?class=%zz": "invalid_argument",
		"?class=phi&ttl=": "invalid_argument", "?class=phi&ttl=0": "invalid_argument", "?class=phi&ttl=-1s": "invalid_argument", "?class=phi&ttl=-9223372036854775807": "invalid_argument",
		"?class=phi&ttl=1w": "invalid_argument", "?class=phi&ttl=1.5": "invalid_argument", "?class=phi&ttl=9223372037": "invalid_argument",
		"?class=phi&ttl=99999999999999999999": "invalid_argument", "?class=phi&ttl=25h": "ttl_out_of_range",
		"?class=phi&ttl=86401": "ttl_out_of_range", "?class=phi&min_class=phi": "invalid_argument",
	} {
		t.Run(query, func(t *testing.T) { s.do("PUT", "/v1/cache/k"+query, []byte("v")).refused(t, code) })
	}
	for _, header := range []string{"Content-Encoding", "Content-Range"} {
		s.do("PUT", "/v1/cache/k?class=phi", []byte("v"), header, "gzip").refused(t, "invalid_argument")
	}
	s.do("GET", "/v1/cache/k?min_class=x", nil).refused(t, "invalid_argument")
	s.do("GET", "/v1/cache/k?class=phi", nil).refused(t, "invalid_argument")
	s.do("DELETE", "/v1/cache/k?min_class=phi", nil).refused(t, "invalid_argument")
	s.do("GET", "/v1/cache/k", nil).refused(t, "not_found")
}

func TestTTL(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		for query, want := range map[string]time.Duration{
			"?class=phi": 24 * time.Hour, "?class=phi&ttl=90": 90 * time.Second, "?class=phi&ttl=1h30m": 90 * time.Minute,
			"?class=public": 0, "?class=public&ttl=1000h": 1000 * time.Hour,
		} {
			s.do("PUT", "/v1/cache/k"+query, []byte("v")).is(t, 204)
			left, ok, err := s.store.TTL(t.Context(), stored("k"))
			require.NoError(t, err)
			require.True(t, ok)
			require.InDelta(t, want.Seconds(), left.Seconds(), 30, query)
		}
		s.do("PUT", "/v1/cache/k?class=phi&ttl=50ms", []byte("v")).is(t, 204)
		soon(t, func() bool { return s.do("GET", "/v1/cache/k", nil).StatusCode == 404 })
	})
}

func TestMinClassRefusesLowerClass(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/k?class=internal", []byte("v")).is(t, 204)
	for _, method := range []string{"GET", "HEAD"} {
		for _, accept := range []string{"*/*", packageType} {
			s.do(method, "/v1/cache/k?min_class=internal", nil, "Accept", accept).is(t, 200)
			s.do(method, "/v1/cache/k?min_class=phi", nil, "Accept", accept).is(t, 403)
		}
	}
	s.do("GET", "/v1/cache/k?min_class=phi", nil).refused(t, "class_too_low")
	s.do("GET", "/v1/cache/k?min_class=phi", nil, "Accept", packageType).refused(t, "class_too_low")
}

const packageType = "application/vnd.coffer.package"

// The stored package can be requested, and does not contain the plaintext.
func TestPackageIsReturnedOnlyIfItOpens(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		s.do("PUT", "/v1/cache/k?class=phi", []byte(record), "Coffer-Context", `{"a":"b"}`).is(t, 204)
		got := s.do("GET", "/v1/cache/k", nil, "Accept", "text/html, application/vnd.coffer.package;q=0.5").is(t, 200)
		require.Equal(t, packageType, got.Header.Get("Content-Type"))
		require.Equal(t, "Accept", got.Header.Get("Vary"))
		require.NotContains(t, string(got.body), record)
		atRest, _, err := kv.Get(t.Context(), s.store, stored("k"))
		require.NoError(t, err)
		require.Equal(t, atRest, got.body)

		p, err := format.Parse(got.body)
		require.NoError(t, err)
		require.Equal(t, format.UseCache, p.Header.Use)
		require.Equal(t, hex.EncodeToString(p.Header.KeyID[:]), got.Header.Get("Coffer-Key-Id"))
		require.Equal(t, "phi", got.Header.Get("Coffer-Class"))
		require.Equal(t, `{"a":"b"}`, got.Header.Get("Coffer-Context"))
		head := s.do("HEAD", "/v1/cache/k", nil, "Accept", packageType).is(t, 200)
		require.EqualValues(t, len(got.body), head.ContentLength)

		for _, accept := range []string{"*/*", "application/*", "", "application/vnd.coffer.package;q=0"} {
			value := s.do("GET", "/v1/cache/k", nil, "Accept", accept).is(t, 200)
			require.Equal(t, record, string(value.body))
		}
		s.do("GET", "/v1/cache/none", nil, "Accept", packageType).refused(t, "not_found")
	})
}

// A package that was altered or moved in the store is refused, and no part of its value is returned.
func TestTamperedEntryIsRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		s.do("PUT", "/v1/cache/k?class=phi", []byte(record)).is(t, 204)
		pkg, _, err := kv.Get(t.Context(), s.store, stored("k"))
		require.NoError(t, err)
		put := func(key string, value []byte) {
			require.NoError(t, kv.Set(t.Context(), s.store, stored(key), value, 0))
		}

		put("moved", pkg)
		s.do("GET", "/v1/cache/moved", nil).refused(t, "authentication_failed")
		flipped := bytes.Clone(pkg)
		flipped[len(flipped)-1] ^= 1
		put("k", flipped)
		s.do("GET", "/v1/cache/k", nil).refused(t, "authentication_failed")
		put("k", []byte("no package"))
		for _, accept := range []string{"*/*", packageType} {
			s.do("GET", "/v1/cache/k", nil, "Accept", accept).refused(t, "authentication_failed")
		}
		unknown := bytes.Clone(pkg)
		unknown[10] ^= 1
		put("k", unknown)
		s.do("GET", "/v1/cache/k", nil).refused(t, "unknown_key")
		later := bytes.Clone(pkg)
		later[3] = 9
		put("k", later)
		s.do("GET", "/v1/cache/k", nil).refused(t, "authentication_failed")
	})
}
