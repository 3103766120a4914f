package oidc_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/identity/oidc"
	"github.com/coffer-storage/coffer/shared/codes"
)

// A token under a new key leads to a fetch of the keys. A key that the provider withdrew is refused.
func TestNewKeyIsFetched(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	old := p.token(r, map[string]any{"exp": r.clock.now().Add(time.Hour).Unix()})
	requireAccepted(t, r, old)

	p.publish(public(rsaKey, kid), public(rsaOther, "key-2"))
	fresh := sign(t, jose.RS256, rsaOther, header("key-2"), p.claims(r, map[string]any{"exp": r.clock.now().Add(time.Hour).Unix()}))
	requireRefused(t, r, fresh) // the last fetch was a moment ago
	r.clock.advance(oidc.MinFetchPause)
	requireAccepted(t, r, fresh)
	requireAccepted(t, r, old)
	require.EqualValues(t, 2, p.fetches.Load())

	p.publish(public(rsaOther, "key-2"))
	r.clock.advance(oidc.FreshFor)
	require.Eventually(t, func() bool {
		_, err := r.Authenticate(t.Context(), old)
		return err != nil
	}, time.Minute, 5*time.Millisecond, "withdrawn")
	requireAccepted(t, r, fresh)
}

// A new key is found even if the keys have no ids.
func TestNewKeyWithoutIDIsFetched(t *testing.T) {
	p := newIDP(t)
	p.publish(public(rsaKey, ""))
	r := p.newRelyingParty(nil)
	requireAccepted(t, r, sign(t, jose.RS256, rsaKey, nil, p.claims(r, nil)))
	p.publish(public(rsaOther, ""))
	r.clock.advance(oidc.MinFetchPause)
	requireAccepted(t, r, sign(t, jose.RS256, rsaOther, nil, p.claims(r, nil)))
	requireRefused(t, r, sign(t, jose.RS256, rsaKey, nil, p.claims(r, nil)))
}

// No flood of tokens, valid or not, leads to a flood of requests to the provider.
func TestFetchesAreLimited(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	unknown := sign(t, jose.RS256, rsaOther, header("key-2"), p.claims(r, nil))
	good := p.token(r, nil)
	flood := func() {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 4 {
					_, _ = r.Authenticate(t.Context(), unknown)
					_, _ = r.Authenticate(t.Context(), good)
				}
			})
		}
		wg.Wait()
	}
	flood()
	require.EqualValues(t, 1, p.fetches.Load())
	r.clock.advance(oidc.MinFetchPause)
	flood()
	require.EqualValues(t, 2, p.fetches.Load())

	r.clock.advance(oidc.MinFetchPause)
	for _, changes := range []map[string]any{{"iss": "x"}, {"aud": "x"}, {"exp": 1}, {"exp": nil}} {
		requireRefused(t, r, sign(t, jose.RS256, rsaOther, header("key-3"), p.claims(r, changes)))
	}
	requireRefused(t, r, sign(t, jose.RS256, rsaOther, header(kid), p.claims(r, nil)))
	require.EqualValues(t, 2, p.fetches.Load(), "a token that is refused without keys or by a cached key causes no fetch")
}

// Cached keys are used for a day if the provider is unavailable. Its return is noticed.
func TestKeysOutlastOutage(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	requireAccepted(t, r, p.token(r, nil))
	p.setAnswer(badGateway)
	for range 23 {
		r.clock.advance(time.Hour)
		requireAccepted(t, r, p.token(r, nil))
	}
	requireRefused(t, r, sign(t, jose.RS256, rsaOther, header("key-2"), p.claims(r, nil)))
	r.clock.advance(time.Hour)
	requireUnavailable(t, r, p.token(r, nil))
	require.Contains(t, r.log.String(), "cannot be fetched")

	p.setAnswer(nil)
	r.clock.advance(oidc.MinFetchPause)
	requireAccepted(t, r, p.token(r, nil))
}

func requireUnavailable(t *testing.T, r *relyingParty, bearer string) {
	t.Helper()
	id, err := r.Authenticate(t.Context(), bearer)
	require.ErrorIs(t, err, identity.ErrUnavailable)
	require.Zero(t, id)
	row := codes.Of(err)
	require.Equal(t, 503, row.Status)
	require.True(t, row.Retry)
}

// Without keys, a token that may be valid can be neither accepted nor refused. A text that cannot be a token is
// refused.
func TestOutageAtStartIsUnavailable(t *testing.T) {
	p := newIDP(t)
	p.setAnswer(badGateway)
	r := p.newRelyingParty(nil)
	good := p.token(r, nil)
	for range 3 {
		requireUnavailable(t, r, good)
	}
	requireRefused(t, r, "coffer_x")
	requireRefused(t, r, p.token(r, map[string]any{"aud": "x"}))
	p.setAnswer(nil)
	requireUnavailable(t, r, good)
	r.clock.advance(oidc.MinFetchPause)
	requireAccepted(t, r, good)
}

// Any unexpected answer of the provider counts as an outage, even if it contains usable keys.
func TestBadAnswersAreOutages(t *testing.T) {
	content, err := json.Marshal(public(rsaKey, kid))
	require.NoError(t, err)
	good := string(content)
	symmetric := `{"kty":"oct","kid":"key-1","k":"` + strings.Repeat("A", 43) + `"}`
	for name, answer := range map[string]string{
		"nothing":        "",
		"no JSON":        "<html>",
		"a list":         "[" + good + "]",
		"no keys":        `{"keys":[]}`,
		"symmetric keys": `{"keys":[` + symmetric + `]}`,
		"too many keys":  `{"keys":[` + strings.Repeat(good+",", 100) + good + `]}`,
		"too large":      `{"keys":[` + good + `]}` + strings.Repeat(" ", 512<<10),
		"cut off":        `{"keys":[` + good,
	} {
		t.Run(name, func(t *testing.T) {
			requireOutage(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		})
	}
	t.Run("a redirect", func(t *testing.T) {
		requireOutage(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			_, _ = io.WriteString(w, `{"keys":[`+good+`]}`)
		})
	})
}

func requireOutage(t *testing.T, answer http.HandlerFunc) {
	t.Helper()
	p := newIDP(t)
	r := p.newRelyingParty(func(o *oidc.Options) { o.JWKSURL = p.http.URL + "/keys?tenant=1" })
	p.setAnswer(answer)
	requireUnavailable(t, r, p.token(r, nil))
}

// An endless answer is not read to its end.
func TestEndlessAnswerIsCutOff(t *testing.T) {
	sent := make(chan int, 1)
	requireOutage(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, total := []byte(strings.Repeat(" ", 1<<16)), 0
		for {
			n, err := w.Write(chunk)
			if total += n; err != nil {
				sent <- total
				return
			}
		}
	})
	require.Less(t, <-sent, 64<<20, "including buffers")
}

func TestDiscoveryChecksIssuer(t *testing.T) {
	for name, document := range map[string]map[string]any{
		"another issuer": {"issuer": "https://other.example"},
		"no keys":        {"jwks_uri": nil},
		"plain http":     {"jwks_uri": "http://keys.example/keys"},
		"another scheme": {"jwks_uri": "file:///etc/passwd"},
		"with a user":    {"jwks_uri": "https://a:b@keys.example/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			for key, value := range document {
				p.document[key] = value
			}
			r := p.newRelyingParty(nil)
			requireUnavailable(t, r, p.token(r, nil))
			require.Zero(t, p.fetches.Load())
		})
	}
}

func TestJWKSURLReplacesDiscovery(t *testing.T) {
	p := newIDP(t)
	p.document = nil
	r := p.newRelyingParty(func(o *oidc.Options) { o.JWKSURL = p.http.URL + "/keys" })
	requireAccepted(t, r, p.token(r, nil))
}

// Weak and unknown keys in a set verify nothing. The other keys of the set do.
func TestUnusableKeysAreIgnored(t *testing.T) {
	p := newIDP(t)
	weak := newRSA(1024)
	p.publish(public(weak, "weak"), public(ecWrong, "curve"), jose.JSONWebKey{Key: rsaOther, KeyID: "private"}, public(rsaKey, kid))
	r := p.newRelyingParty(nil)
	requireAccepted(t, r, p.token(r, nil))
	requireRefused(t, r, sign(t, jose.RS256, weak, header("weak"), p.claims(r, nil)))
	requireRefused(t, r, sign(t, jose.RS256, rsaOther, header("private"), p.claims(r, nil)))
}

// A provider that never answers does not delay callers with a cached key, and delays the others for at most the timeout.
func TestSilentProviderDelaysNoKnownKey(t *testing.T) {
	p := newIDP(t)
	r, other := p.newRelyingParty(nil), p.newRelyingParty(nil)
	r.SetFetchTimeout(time.Hour)
	other.SetFetchTimeout(50 * time.Millisecond)
	requireAccepted(t, r, p.token(r, nil))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	p.setAnswer(func(_ http.ResponseWriter, request *http.Request) {
		select {
		case <-release:
		case <-request.Context().Done():
		}
	})
	r.clock.advance(oidc.FreshFor)
	began := time.Now()
	requireAccepted(t, r, p.token(r, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.Authenticate(ctx, sign(t, jose.RS256, rsaOther, header("key-2"), p.claims(r, nil)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireAccepted(t, r, p.token(r, nil))
	require.Less(t, time.Since(began), time.Minute)

	requireUnavailable(t, other, p.token(other, nil)) // the fetch ended because of its timeout
	require.Contains(t, other.log.String(), "deadline exceeded")
}
