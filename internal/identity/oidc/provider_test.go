package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity/oidc"
)

// The keys are made once, because making RSA keys is slow.
var (
	rsaKey, rsaOther = newRSA(2048), newRSA(2048)
	ecKey, ecWrong   = newEC(elliptic.P256()), newEC(elliptic.P384())
	edKey            = newEd()
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newEd() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// idp is an OpenID Connect provider in the test's process. It serves discovery and keys over HTTP.
type idp struct {
	t       testing.TB
	http    *httptest.Server
	fetches atomic.Int64 // of the keys

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	instead  http.HandlerFunc // answers all requests, if set
	document map[string]any   // for discovery
}

const kid = "key-1"

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{t: t}
	p.publish(public(rsaKey, kid))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(p.document)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
	})
	p.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			p.fetches.Add(1)
		}
		p.mu.Lock()
		handler := p.instead
		p.mu.Unlock()
		if handler == nil {
			handler = mux.ServeHTTP
		}
		handler(w, r)
	}))
	t.Cleanup(p.http.Close)
	p.document = map[string]any{"issuer": p.http.URL, "jwks_uri": p.http.URL + "/keys", "response_types_supported": []string{"code"}}
	return p
}

func (p *idp) publish(keys ...jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

// setAnswer sets a handler for all requests. A nil handler restores the default.
func (p *idp) setAnswer(handler http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = handler
}

func badGateway(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

func public(private crypto.Signer, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: private.Public(), KeyID: kid, Use: "sig"}
}

// clock is a stopped clock that tests advance.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// lockedLog is a buffer that the provider's goroutines write to while the test reads it.
type lockedLog struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// relyingParty is a Provider under test, with its log and its clock.
type relyingParty struct {
	*oidc.Provider
	clock *clock
	log   *lockedLog
}

const audience = "coffer"

// newRelyingParty returns a Provider for p. change may be nil; it changes the options.
func (p *idp) newRelyingParty(change func(*oidc.Options)) *relyingParty {
	p.t.Helper()
	r := &relyingParty{clock: &clock{at: time.Now().Truncate(time.Second)}, log: &lockedLog{}}
	log := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	options := oidc.Options{Issuer: p.http.URL, Audiences: []string{audience}, Log: log}
	if change != nil {
		change(&options)
	}
	var err error
	r.Provider, err = oidc.New(options)
	require.NoError(p.t, err)
	r.SetClock(r.clock.now)
	return r
}

// claims returns the claims of a valid token with changes. A nil value removes a claim.
func (p *idp) claims(r *relyingParty, changes map[string]any) map[string]any {
	now := r.clock.now().Unix()
	all := map[string]any{
		"iss": p.http.URL, "aud": audience, "sub": "alice", "exp": now + 300, "nbf": now, "iat": now,
		"tenant": "clinic", "scope": "openid cache:read cache:write",
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// sign signs a token with any header.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: header}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	require.NoError(t, err)
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(payload)
	require.NoError(t, err)
	text, err := signed.CompactSerialize()
	require.NoError(t, err)
	return text
}

func header(kid string) map[jose.HeaderKey]any {
	return map[jose.HeaderKey]any{"kid": kid, "typ": "JWT"}
}

// token returns a token with changed claims, signed by the provider's first key.
func (p *idp) token(r *relyingParty, changes map[string]any) string {
	p.t.Helper()
	return sign(p.t, jose.RS256, rsaKey, header(kid), p.claims(r, changes))
}
