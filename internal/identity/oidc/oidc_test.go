package oidc_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/identity/oidc"
)

func requireAccepted(t *testing.T, r *relyingParty, bearer string) identity.Identity {
	t.Helper()
	id, err := r.Authenticate(t.Context(), bearer)
	require.NoError(t, err, r.log)
	return id
}

func requireRefused(t *testing.T, r *relyingParty, bearer string) {
	t.Helper()
	id, err := r.Authenticate(t.Context(), bearer)
	require.Equal(t, identity.ErrUnauthorized, err, "the error has no details")
	require.Zero(t, id)
}

func TestValidTokenIsAccepted(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	id := requireAccepted(t, r, p.token(r, nil))
	require.Equal(t, identity.Identity{
		Issuer: p.http.URL, Subject: "alice", Tenant: "clinic", Scopes: identity.CacheRead | identity.CacheWrite,
		Expires: r.clock.now().Add(300 * time.Second),
	}, id)
}

func TestAllowedAlgorithmsAreAccepted(t *testing.T) {
	p := newIDP(t)
	p.publish(public(ecKey, "ec"), public(rsaKey, "rsa"), public(edKey, "ed"))
	r := p.newRelyingParty(nil)
	for _, c := range []struct {
		alg jose.SignatureAlgorithm
		key any
		kid string
	}{{jose.RS256, rsaKey, "rsa"}, {jose.PS256, rsaKey, "rsa"}, {jose.ES256, ecKey, "ec"}, {jose.EdDSA, edKey, "ed"}} {
		text := sign(t, c.alg, c.key, header(c.kid), p.claims(r, nil))
		requireAccepted(t, r, text)
		requireAccepted(t, r, sign(t, c.alg, c.key, map[jose.HeaderKey]any{"typ": "at+jwt"}, p.claims(r, nil))) // without a key id
		requireRefused(t, p.newRelyingParty(func(o *oidc.Options) {
			o.Algorithms = []string{map[bool]string{true: "PS256", false: "RS256"}[c.alg == jose.RS256]}
		}), text)
	}
}

// raw joins the parts of a token, signed or not.
func raw(header, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

// Each token differs from a valid one as its name says.
func TestInvalidTokensAreRefused(t *testing.T) {
	p := newIDP(t)
	p.publish(public(rsaKey, kid), public(ecKey, "ec"), jose.JSONWebKey{Key: rsaOther.Public(), KeyID: "for PS256", Algorithm: "PS256"},
		jose.JSONWebKey{Key: rsaOther.Public(), KeyID: "for encryption", Use: "enc"})
	r := p.newRelyingParty(nil)
	now := r.clock.now().Unix()
	good := p.claims(r, nil)
	text := p.token(r, nil)
	parts := strings.Split(text, ".")
	payload, err := json.Marshal(good)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	require.NoError(t, err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})

	bad := map[string]string{
		"nothing": "", "a space": " ", "no JWT": "coffer_abc", "dots": "..", "many dots": strings.Repeat(".", 8000),
		"garbage": strings.Repeat("\x00\xff", 100), "garbage in three parts": "AAAA.BBBB.CCCC", "four parts": text + ".AAAA",
		"oversized":      p.token(r, map[string]any{"more": strings.Repeat("x", oidc.MaxToken)}),
		"JSON form":      `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"no signature":   parts[0] + "." + parts[1] + ".",
		"cut off":        text[:len(text)-10],
		"other payload":  parts[0] + "." + base64.RawURLEncoding.EncodeToString(append(payload, ' ')) + "." + parts[2],
		"alg=none":       raw(`{"alg":"none","kid":"key-1"}`, string(payload), ""),
		"alg=None":       raw(`{"alg":"None","kid":"key-1"}`, string(payload), "x"),
		"no alg":         raw(`{"kid":"key-1"}`, string(payload), "x"),
		"alg is a list":  raw(`{"alg":["RS256"],"kid":"key-1"}`, string(payload), "x"),
		"null header":    raw(`null`, string(payload), "x"),
		"null claims":    sign(t, jose.RS256, rsaKey, header(kid), json.RawMessage("null")),
		"claims: a list": sign(t, jose.RS256, rsaKey, header(kid), []string{"x"}),

		"HS256 by the public key's PEM": sign(t, jose.HS256, publicPEM, header(kid), good),
		"HS256 by the public key's DER": sign(t, jose.HS256, der, header(kid), good),
		"HS512":                         sign(t, jose.HS512, []byte(strings.Repeat("k", 64)), header(kid), good),
		"RS384 is not on the list":      sign(t, jose.RS384, rsaKey, header(kid), good),
		"ES384 is not on the list":      sign(t, jose.ES384, ecWrong, header("ec"), good),
		"another key":                   sign(t, jose.RS256, rsaOther, header(kid), good),
		"another kind of key":           sign(t, jose.ES256, ecKey, header(kid), good),
		"a key not for this algorithm":  sign(t, jose.RS256, rsaOther, header("for PS256"), good),
		"a key not for signatures":      sign(t, jose.RS256, rsaOther, header("for encryption"), good),
		"unknown kid":                   sign(t, jose.RS256, rsaKey, header("key-2"), good),
		"no kid and another key":        sign(t, jose.RS256, rsaOther, map[jose.HeaderKey]any{}, good),
		"its own key": sign(t, jose.RS256, rsaOther, map[jose.HeaderKey]any{
			"jwk": jose.JSONWebKey{Key: rsaOther.Public()}, "jku": "https://evil.example/keys", "x5u": "https://evil.example/c"}, good),
		"a critical extension": sign(t, jose.RS256, rsaKey, map[jose.HeaderKey]any{"kid": kid, "crit": []string{"x"}, "x": 1}, good),
		"a logout token":       sign(t, jose.RS256, rsaKey, map[jose.HeaderKey]any{"kid": kid, "typ": "logout+jwt"}, good),
		"typ is a number":      sign(t, jose.RS256, rsaKey, map[jose.HeaderKey]any{"kid": kid, "typ": 1}, good),
	}
	for name, changes := range map[string]map[string]any{
		"expired":               {"exp": now - 61},
		"not yet valid":         {"nbf": now + 61},
		"issued in the future":  {"iat": now + 61},
		"no expiry":             {"exp": nil},
		"expiry is a text":      {"exp": "never"},
		"expiry overflows":      {"exp": 1e300},
		"nbf overflows":         {"nbf": float64(1 << 62)},
		"wrong issuer":          {"iss": p.http.URL + "/"},
		"no issuer":             {"iss": nil},
		"wrong audience":        {"aud": "coffer2"},
		"audiences of others":   {"aud": []string{"a", "b"}},
		"no audience":           {"aud": nil},
		"audience is a number":  {"aud": 1},
		"no subject":            {"sub": nil},
		"empty subject":         {"sub": ""},
		"subject is a number":   {"sub": 1},
		"no tenant":             {"tenant": nil},
		"empty tenant":          {"tenant": ""},
		"tenant is a list":      {"tenant": []string{"clinic"}},
		"long tenant":           {"tenant": strings.Repeat("x", 256)},
		"everyone's data":       {"tenant": "*", "scope": "audit:read cache:read"},
		"scope is a number":     {"scope": 1},
		"scope is an object":    {"scope": map[string]any{"cache:read": true}},
		"scopes are no texts":   {"scope": []any{"cache:read", 1}},
		"iss in another case":   {"iss": nil, "ISS": p.http.URL},
		"expired long ago":      {"exp": 0},
		"expired before the CE": {"exp": -1e18},
	} {
		t.Run(name, func(t *testing.T) {
			bad[name] = p.token(r, changes)
		})
	}
	for name, bearer := range bad {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, text, bearer)
			requireRefused(t, r, bearer)
		})
	}
	requireAccepted(t, r, text)
	requireNothingOf(t, r.log.String(), bad)
}

// requireNothingOf checks that the log contains no part of a token, encoded or decoded.
func requireNothingOf(t *testing.T, log string, tokens map[string]string) {
	t.Helper()
	require.Contains(t, log, "a JWT was refused")
	for _, planted := range []string{"alice", "clinic", "evil.example", "logout"} {
		require.NotContains(t, log, planted)
	}
	for name, bearer := range tokens {
		for part := range strings.SplitSeq(bearer, ".") {
			require.False(t, len(part) > 8 && strings.Contains(log, part), name)
		}
	}
}

func TestDuplicateClaimsAreRefused(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(nil)
	payload, err := json.Marshal(p.claims(r, nil))
	require.NoError(t, err)
	twice := strings.Replace(string(payload), "{", `{"tenant":"other",`, 1)
	requireRefused(t, r, sign(t, jose.RS256, rsaKey, header(kid), json.RawMessage(twice)))
}

func TestClockSkewIsTolerated(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(func(o *oidc.Options) { o.Skew = 10 * time.Second })
	now := r.clock.now().Unix()
	requireAccepted(t, r, p.token(r, map[string]any{"exp": now - 9}))
	requireAccepted(t, r, p.token(r, map[string]any{"nbf": now + 9, "iat": now + 9}))
	requireRefused(t, r, p.token(r, map[string]any{"exp": now - 11}))
	requireRefused(t, r, p.token(r, map[string]any{"nbf": now + 11}))

	text := p.token(r, nil)
	requireAccepted(t, r, text)
	r.clock.advance(311 * time.Second)
	requireRefused(t, r, text)
}

func TestClaimsAreFoundByPath(t *testing.T) {
	p := newIDP(t)
	const odd = "https://example.com/tenant~1"
	for _, c := range []struct {
		tenant, scopes string
		claims         map[string]any
		want           identity.Scopes
	}{
		{"", "", map[string]any{"scope": nil}, 0},
		{"", "", map[string]any{"scope": "openid profile"}, 0},
		{"", "", map[string]any{"scope": "  audit:read\tkeys:admin "}, identity.AuditRead | identity.KeysAdmin},
		{"tid", "roles", map[string]any{"tid": "clinic", "tenant": nil, "roles": []string{"cache:read", "other"}}, identity.CacheRead},
		{odd, "", map[string]any{odd: "clinic", "tenant": nil}, identity.CacheRead | identity.CacheWrite},
		{"/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(odd) + "/id", "/realm_access/roles", map[string]any{
			odd: map[string]any{"id": "clinic"}, "tenant": nil, "realm_access": map[string]any{"roles": []string{"package:decrypt"}},
		}, identity.PackageDecrypt},
	} {
		r := p.newRelyingParty(func(o *oidc.Options) { o.TenantClaim, o.ScopesClaim = c.tenant, c.scopes })
		id := requireAccepted(t, r, p.token(r, c.claims))
		require.Equal(t, "clinic", id.Tenant)
		require.Equal(t, c.want, id.Scopes)
	}
	r := p.newRelyingParty(func(o *oidc.Options) { o.TenantClaim = "/tenant/id" })
	requireRefused(t, r, p.token(r, nil))
}

func TestOneOfSeveralAudiencesSuffices(t *testing.T) {
	p := newIDP(t)
	r := p.newRelyingParty(func(o *oidc.Options) { o.Audiences = []string{"a", "b"} })
	for _, aud := range []any{"a", "b", []string{"x", "b"}} {
		requireAccepted(t, r, p.token(r, map[string]any{"aud": aud}))
	}
	requireRefused(t, r, p.token(r, nil))
}

func FuzzAuthenticate(f *testing.F) {
	p := newIDP(f)
	r := p.newRelyingParty(nil)
	good := p.token(r, nil)
	parts := strings.Split(good, ".")
	for _, seed := range []string{"", good, good[:50], raw(`{"alg":"none"}`, "{}", ""), parts[0] + ".e30." + parts[2], raw(`{"alg":"ES256","kid":"key-1"}`, "{}", "x")} {
		f.Add(seed)
	}
	_, err := r.Authenticate(context.Background(), good)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, bearer string) {
		id, err := r.Authenticate(t.Context(), bearer)
		if bearer == good {
			require.NoError(t, err)
			return
		}
		if err == nil { // another encoding of the same token
			require.Equal(t, "alice", id.Subject)
			return
		}
		require.Equal(t, identity.ErrUnauthorized, err)
	})
}
