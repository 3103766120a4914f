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
	maxRSA      = 8192 // larger keys are slow to verify with
)

// keySource fetches the keys that a provider publishes.
type keySource struct {
	issuer    string
	jwksURL   string // empty: discover it for each fetch
	allowHTTP bool
	client    *http.Client
}

// newClient returns an HTTP client that does not follow redirects, because they could lead from https to http.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeaders
	transport.MaxIdleConns = 1
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch returns the provider's current keys. It returns an error if there is no usable key.
func (s *keySource) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
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

// discover returns the URL of the keys from the provider's metadata, whose issuer must match (Discovery section 4.3).
func (s *keySource) discover(ctx context.Context) (string, error) {
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+wellKnown, &document); err != nil {
		return "", err
	}
	if document.Issuer != s.issuer {
		return "", errors.New("oidc: the provider's metadata names another issuer")
	}
	return document.JWKSURI, checkURL("the provider's jwks_uri", document.JWKSURI, s.allowHTTP, true)
}

func (s *keySource) get(ctx context.Context, url string, into any) error {
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
		return errors.New("oidc: the provider's answer is too large or is not the expected JSON")
	}
	return nil
}

// parseKeys returns the usable keys. It ignores keys that it does not understand (RFC 7517 section 5) or that must not
// verify tokens.
func parseKeys(raw []json.RawMessage) (usable []jose.JSONWebKey) {
	for _, one := range raw {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(one) == nil && (key.Use == "" || key.Use == "sig") && isUsableKey(key.Key) {
			usable = append(usable, key)
		}
	}
	return usable
}

// isUsableKey reports whether key is a public key of a supported type and size.
func isUsableKey(key any) bool {
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

// hasKeyID reports whether one of the keys has the id.
func hasKeyID(known []jose.JSONWebKey, id string) bool {
	for i := range known {
		if known[i].KeyID == id {
			return true
		}
	}
	return false
}

// mayVerify reports whether a token with this key id and algorithm may be verified with the key. The algorithm must fit
// the type of the key (RFC 8725 section 3.1).
func mayVerify(key *jose.JSONWebKey, id, algorithm string) bool {
	if id != "" && key.KeyID != id {
		return false
	}
	published := key.Algorithm
	if published == "Ed25519" { // the name in RFC 9864
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
