package api_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/format"
)

func atRest(t *testing.T, s *service, key string) []byte {
	pkg, ok, err := kv.Get(t.Context(), s.store, key)
	require.NoError(t, err)
	require.True(t, ok)
	return append([]byte{}, pkg...)
}

// alteredPackages returns values that the store could return under a key although they were not written there.
func (s *service) alteredPackages(t *testing.T) map[string][]byte {
	change := func(pkg []byte, at int, to byte) []byte {
		pkg = bytes.Clone(pkg)
		pkg[at] = to
		return pkg
	}
	s.do("PUT", "/v1/cache/k?class=phi", []byte(record)).is(t, 204)
	s.do("PUT", "/v1/cache/other?class=phi", []byte(record)).is(t, 204)
	clinic := s.issue("clinic", identity.CacheRead|identity.CacheWrite)
	s.do("PUT", "/v1/cache/k?class=phi", []byte("of the clinic"), "Authorization", "Bearer "+clinic).is(t, 204)
	pkg := atRest(t, s, stored("k"))
	header, n, err := format.ParseHeader(pkg)
	require.NoError(t, err)
	header.EncryptedAt = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC).UnixMilli()
	old, err := header.Append(nil)
	require.NoError(t, err)
	return map[string][]byte{
		"empty": {}, "truncated": pkg[:40], "header alone": pkg[:80], "no package": []byte("no package"), "wrong magic": change(pkg, 0, 'X'),
		"later version": change(pkg, 3, 9), "no class": change(pkg, 8, 99), "another use": change(pkg, 5, 1), "flipped": change(pkg, len(pkg)-1, pkg[len(pkg)-1]^1),
		"another entry's": atRest(t, s, stored("other")), "another tenant's": atRest(t, s, "coffer/clinic/cache/k"), "old date": append(old, pkg[n:]...),
	}
}

// If the store returns a package that does not open, the response, a critical event, the metric and the log report it.
func TestAlteredEntriesRaiseAlarm(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		for name, value := range s.alteredPackages(t) {
			require.NoError(t, kv.Set(t.Context(), s.store, stored("k"), value, time.Hour))
			s.audit.take()
			opens := map[string]func() answer{
				"get":                func() answer { return s.do("GET", "/v1/cache/k", nil) },
				"get with min_class": func() answer { return s.do("GET", "/v1/cache/k?min_class=phi", nil) },
				"package":            func() answer { return s.do("GET", "/v1/cache/k", nil, "Accept", packageType) },
				"expire":             func() answer { return s.do("PATCH", "/v1/cache/k?ttl=1h", nil) },
			}
			require.Equal(t, "authentication_failed", s.do("HEAD", "/v1/cache/k", nil).Header.Get("Coffer-Code"), name)
			require.True(t, s.alarmed(), name)
			if !strings.Contains(name, "another t") && !strings.Contains(name, "another e") && name != "flipped" { // detected without opening the package
				opens["replace"] = func() answer { return s.do("PUT", "/v1/cache/k?class=phi", []byte("v"), "If-Match", `"tag"`) }
				opens["delete"] = func() answer { return s.do("DELETE", "/v1/cache/k", nil, "If-Match", `"tag"`) }
			}
			for how, open := range opens {
				got := open()
				require.Equal(t, 422, got.StatusCode, "%s: %s: %s", name, how, got.body)
				got.refused(t, "authentication_failed")
				require.True(t, s.alarmed(), "%s: %s", name, how)
			}
			results := s.batch([]batchStep{{Op: "get", Key: "k"}, {Op: "get", Key: "other"}})
			require.Equal(t, []string{"authentication_failed", ""}, []string{results[0].Code, results[1].Code}, name)
			require.True(t, s.alarmed(), name)
			require.Equal(t, value, atRest(t, s, stored("k")), "%s: it was removed", name)
		}
		require.Contains(t, s.log.String(), "the store returned something that was altered, moved or forged")
		require.Contains(t, s.log.String(), `"tenant":"hash"`)
		require.Contains(t, string(s.do("GET", "/metrics", nil).body), `coffer_integrity_failures_total{class="none"} `)
	})
}

// alarmed reports whether exactly one critical event was recorded since the last call.
func (s *service) alarmed() bool {
	all := s.audit.take()
	all = slices.DeleteFunc(all, func(e audit.Event) bool { return e.Severity() != audit.Critical })
	return len(all) == 1 && all[0].Code == "authentication_failed"
}

// A session that was stored in the place of another one is reported as altered, not as a wrong id from the caller.
func TestAlteredSessionsRaiseAlarm(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *service) {
		begin := func(bearer string) (id, name string, pkg []byte) {
			before, _, err := s.store.Scan(t.Context(), "coffer/", "", 0)
			require.NoError(t, err)
			var made struct{ ID string }
			got := s.do("POST", "/v1/sessions", []byte(`{"data":{}}`), "Content-Type", "application/json", "Authorization", "Bearer "+bearer).is(t, 201)
			require.NoError(t, json.Unmarshal(got.body, &made))
			after, _, err := s.store.Scan(t.Context(), "coffer/", "", 0)
			require.NoError(t, err)
			after = slices.DeleteFunc(after, func(key string) bool { return slices.Contains(before, key) })
			require.Len(t, after, 1)
			pkg, _, err = kv.Get(t.Context(), s.store, after[0])
			require.NoError(t, err)
			return made.ID, after[0], bytes.Clone(pkg)
		}
		id, name, own := begin(s.token)
		_, _, other := begin(s.token)
		_, _, clinic := begin(s.issue("clinic", identity.AllScopes))
		s.do("PUT", "/v1/cache/k?class=confidential", []byte("v")).is(t, 204)
		entry, _, err := kv.Get(t.Context(), s.store, stored("k"))
		require.NoError(t, err)
		for how, value := range map[string][]byte{
			"swapped": other, "another tenant's": clinic, "an entry": bytes.Clone(entry), "empty": {}, "truncated": own[:30], "no package": []byte("x"),
		} {
			require.NoError(t, kv.Set(t.Context(), s.store, name, value, time.Hour))
			s.audit.take()
			got := s.do("GET", "/v1/session", nil, "Coffer-Session", id)
			require.Equal(t, 422, got.StatusCode, "%s: %s", how, got.body)
			require.True(t, s.alarmed(), how)
			s.do("PATCH", "/v1/session?ttl=1h", nil, "Coffer-Session", id).refused(t, "authentication_failed")
		}
	})
}

// A value under an unknown key is not reported as altered, but it is logged and counted.
func TestUnknownKeysRaiseAlarm(t *testing.T) {
	t.Parallel()
	s := start(t, embedded(t), nil)
	s.do("PUT", "/v1/cache/k?class=phi", []byte(record)).is(t, 204)
	pkg, _, err := kv.Get(t.Context(), s.store, stored("k"))
	require.NoError(t, err)
	unknown := bytes.Clone(pkg)
	unknown[10] ^= 1
	require.NoError(t, kv.Set(t.Context(), s.store, stored("k"), unknown, time.Hour))
	s.do("GET", "/v1/cache/k", nil).refused(t, "unknown_key")
	require.Contains(t, s.log.String(), "entries are sealed under keys that their tenant's keyset does not have")
	require.Contains(t, string(s.do("GET", "/metrics", nil).body), "coffer_unknown_key_total 1")
	s.do("GET", "/v1/cache/k", nil, "Accept", packageType).refused(t, "unknown_key")
	s.do("PATCH", "/v1/cache/k?ttl=1h", nil).refused(t, "unknown_key")
	require.Equal(t, "unknown_key", s.do("HEAD", "/v1/cache/k", nil).Header.Get("Coffer-Code"))
	require.Contains(t, string(s.do("GET", "/metrics", nil).body), "coffer_unknown_key_total 4")
}
