package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	wellKnown   = "/.well-known/openid-configuration" // OpenID Connect Discovery 1.0 section 4
	maxDocument = 512 << 10
	maxHeaders  = 64 << 10
	maxKeys     = 100
	minRSA      = 2048 // bits (RFC 7518 section 3.3)
	maxRSA      = 8192 // larger ones take long to verify with
)

// source is where a provider publishes its keys.
type source struct {
	issuer    string
	jwksURL   string // empty: discovered each time
	allowHTTP bool
	client    *http.Client
}

// newClient follows no redirect: it could lead from https to http.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeaders
	transport.MaxIdleConns = 1
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch returns the provider's keys as they are now; at least one.
func (s *source) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	at := s.jwksURL
	if at == "" {
		var err error
		if at, err = s.discover(ctx); err != nil {
			return nil, err
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.get(ctx, at, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("oidc: the provider has too many keys")
	}
	usable := parseKeys(set.Keys)
	if len(usable) == 0 {
		return nil, errors.New("oidc: the provider has no key that can be used")
	}
	return usable, nil
}

// discover asks for the provider's document, which must be of the issuer itself (Discovery section 4.3).
func (s *source) discover(ctx context.Context) (string, error) {
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+wellKnown, &document); err != nil {
		return "", err
	}
	if document.Issuer != s.issuer {
		return "", errors.New("oidc: the provider's document is of another issuer")
	}
	return document.JWKSURI, checkURL("the provider's jwks_uri", document.JWKSURI, s.allowHTTP, true)
}

func (s *source) get(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("oidc: the provider answered with status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	if len(body) > maxDocument || json.Unmarshal(body, into) != nil {
		return errors.New("oidc: the provider's answer is too large or not the JSON it should be")
	}
	return nil
}

// parseKeys leaves out what is not understood, as RFC 7517 section 5 says, and what must verify nothing.
func parseKeys(raw []json.RawMessage) (usable []jose.JSONWebKey) {
	for _, one := range raw {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(one) == nil && (key.Use == "" || key.Use == "sig") && strong(key.Key) {
			usable = append(usable, key)
		}
	}
	return usable
}

// strong takes public keys alone, of sizes that are neither weak nor slow.
func strong(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA && key.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize
	}
	return false
}

// holds reports whether a key of that id is known, of whatever kind.
func holds(known []jose.JSONWebKey, id string) bool {
	for i := range known {
		if known[i].KeyID == id {
			return true
		}
	}
	return false
}

// fits reports whether a token with this key id and algorithm may be verified with the key: one of the
// algorithm's own kind, so that no key is ever used as another (RFC 8725 section 3.1).
func fits(key *jose.JSONWebKey, id, algorithm string) bool {
	if id != "" && key.KeyID != id {
		return false
	}
	published := key.Algorithm
	if published == "Ed25519" { // RFC 9864's name
		published = string(jose.EdDSA)
	}
	if published != "" && published != algorithm {
		return false
	}
	switch key.Key.(type) {
	case *rsa.PublicKey:
		return algorithm == string(jose.RS256) || algorithm == string(jose.PS256)
	case *ecdsa.PublicKey:
		return algorithm == string(jose.ES256)
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}
