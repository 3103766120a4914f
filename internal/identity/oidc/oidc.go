// Package oidc authenticates callers by the JWTs of an OpenID Connect provider.
//
// A token is accepted only if it is signed by a key that the provider publishes (RFC 7515), with an allowed algorithm
// that fits the type of the key, and is valid now for this issuer and audience (RFC 7519, RFC 8725). Whatever tokens
// arrive, the provider's keys are fetched at most every few seconds. If the provider is unavailable, cached keys are
// used for up to a day.
package oidc

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/coffer-storage/coffer/internal/identity"
)

// maxToken is the maximum length of a token in bytes.
const maxToken = 8 << 10

// Provider authenticates callers by the tokens of one issuer. It is safe for concurrent use.
type Provider struct {
	issuer     string
	audiences  jwt.Audience
	algorithms []jose.SignatureAlgorithm
	skew       time.Duration
	tenant     claimPath
	scopes     claimPath
	keys       *keyCache
	verified   *verifiedTokens
	log        *slog.Logger
	now        func() time.Time
}

var _ identity.Authenticator = (*Provider)(nil)

// Authenticate implements identity.Authenticator. It returns identity.ErrUnavailable if the provider's keys are needed
// and cannot be fetched, or ctx's error if ctx ends first. The reason of a refusal is only logged, at level debug.
func (p *Provider) Authenticate(ctx context.Context, bearer string) (identity.Identity, error) {
	id, reason, err := p.authenticate(ctx, bearer)
	if err != nil {
		return identity.Identity{}, err
	}
	if reason != "" {
		p.log.DebugContext(ctx, "a JWT was refused", "reason", reason)
		return identity.Identity{}, identity.ErrUnauthorized
	}
	return id, nil
}

// authenticate returns the identity or the reason of a refusal, which contains no part of the token. Cheap checks come
// first, so that invalid tokens do not cause fetches of keys.
func (p *Provider) authenticate(ctx context.Context, bearer string) (id identity.Identity, reason string, err error) {
	if len(bearer) > maxToken {
		return id, "it is larger than 8 KiB", nil
	}
	hash := sha256.Sum256([]byte(bearer))
	if id, ok := p.findVerified(hash); ok {
		return id, "", nil
	}
	token, err := jwt.ParseSigned(bearer, p.algorithms)
	if err != nil || len(token.Headers) != 1 {
		return id, "it is not a JWT signed with an allowed algorithm", nil
	}
	if !isAccessToken(token.Headers[0]) {
		return id, "its type is neither JWT nor at+jwt", nil
	}
	var unverified jwt.Claims
	if token.UnsafeClaimsWithoutVerification(&unverified) != nil {
		return id, "its claims cannot be read", nil
	}
	if reason := p.checkClaims(&unverified); reason != "" {
		return id, reason, nil
	}
	fetched := p.keys.generation()
	claims, all, err := p.verify(ctx, token)
	if err != nil || all == nil {
		return id, "no key of the provider signed it", err
	}
	if reason := p.checkClaims(claims); reason != "" {
		return id, reason, nil
	}
	if id, reason = p.identity(claims, all); reason == "" {
		p.verified.known.Add(hash, verifiedToken{claims, id, fetched}) // if the keys were fetched in between, the result is not used
	}
	return id, reason, nil
}

// isAccessToken reports whether a token may be an access token. The provider may sign tokens for other purposes, such
// as logout (RFC 8725 section 3.11, RFC 9068 section 4).
func isAccessToken(header jose.Header) bool {
	typ, given := header.ExtraHeaders[jose.HeaderType]
	if !given {
		return true
	}
	text, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(text), "application/") {
	case "jwt", "at+jwt":
		return true
	}
	return false
}

// checkClaims checks issuer, audience and times (RFC 7519 section 4.1) and returns the reason of a refusal, or "". A
// token without an expiry is refused.
func (p *Provider) checkClaims(claims *jwt.Claims) string {
	if claims.Expiry == nil {
		return "it never expires"
	}
	err := claims.ValidateWithLeeway(jwt.Expected{Issuer: p.issuer, AnyAudience: p.audiences, Time: p.now()}, p.skew)
	if err != nil {
		return strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: ") // the texts are constants of that package
	}
	return ""
}

// verify returns the claims if a key of the provider signed the token. Otherwise all is nil.
func (p *Provider) verify(ctx context.Context, token *jwt.JSONWebToken) (claims *jwt.Claims, all map[string]any, err error) {
	header := token.Headers[0]
	known, err := p.keys.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	if claims, all, err = p.verifyWith(ctx, token, known); err != nil || all != nil || header.KeyID != "" && hasKeyID(known, header.KeyID) {
		return claims, all, err
	}
	if known, err = p.keys.refetch(ctx); err != nil { // the provider may have rotated its keys
		return nil, nil, err
	}
	return p.verifyWith(ctx, token, known)
}

// verifyWith verifies the token with each key that its header allows. It waits for a free slot first.
func (p *Provider) verifyWith(ctx context.Context, token *jwt.JSONWebToken, known []jose.JSONWebKey) (*jwt.Claims, map[string]any, error) {
	release, err := p.verified.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	header := token.Headers[0]
	for i := range known {
		if !mayVerify(&known[i], header.KeyID, header.Algorithm) {
			continue
		}
		var claims jwt.Claims
		var all map[string]any
		if token.Claims(known[i].Key, &claims, &all) == nil && all != nil {
			return &claims, all, nil
		}
	}
	return nil, nil, nil
}

// identity returns the identity in verified claims, or the reason of a refusal.
func (p *Provider) identity(claims *jwt.Claims, all map[string]any) (id identity.Identity, reason string) {
	if claims.Subject == "" {
		return id, "it has no subject"
	}
	tenant, _ := p.tenant.find(all).(string)
	if !identity.ValidTenant(tenant) {
		return id, "its tenant claim is missing or not a valid tenant"
	}
	scopes, ok := readScopes(p.scopes.find(all))
	if !ok {
		return id, "its scopes claim is neither a string nor a list of strings"
	}
	if !identity.ValidGrant(tenant, scopes) {
		return id, "it is for every tenant and has scopes that give access to data"
	}
	return identity.Identity{
		Issuer: p.issuer, Subject: claims.Subject, Tenant: tenant, Scopes: scopes, Expires: claims.Expiry.Time(),
	}, ""
}
