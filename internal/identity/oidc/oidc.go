// Package oidc authenticates callers by JWTs of an OpenID Connect provider.
//
// It guarantees that a token is accepted only if a key that the provider publishes signed it (RFC 7515), by
// an algorithm of the allow-list and of that key's kind, for this issuer and audience and at this time (RFC
// 7519, RFC 8725), and that nobody can make it ask the provider more often than every few seconds. An outage
// of the provider is survived for a day.
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

// maxToken bounds a token's bytes.
const maxToken = 8 << 10

// Provider authenticates by the tokens of one issuer. It is safe for concurrent use.
type Provider struct {
	issuer     string
	audiences  jwt.Audience
	algorithms []jose.SignatureAlgorithm
	skew       time.Duration
	tenant     path
	scopes     path
	keys       *keys
	verified   *verified
	log        *slog.Logger
	now        func() time.Time
}

var _ identity.Authenticator = (*Provider)(nil)

// Authenticate implements identity.Authenticator. It returns identity.ErrUnavailable where the provider's
// keys cannot be had and none are known, and the context's error where it ends while they are fetched. Why a
// token was refused is in the log alone, at level debug.
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

// authenticate returns the reason of a refusal, which holds nothing of the token. What costs nothing is
// looked at first, so that junk does not make the keys be fetched.
func (p *Provider) authenticate(ctx context.Context, bearer string) (id identity.Identity, reason string, err error) {
	if len(bearer) > maxToken {
		return id, "it is larger than 8 KiB", nil
	}
	hash := sha256.Sum256([]byte(bearer))
	if id, ok := p.remembered(hash); ok {
		return id, "", nil
	}
	token, err := jwt.ParseSigned(bearer, p.algorithms)
	if err != nil || len(token.Headers) != 1 {
		return id, "it is no JWT signed by an allowed algorithm", nil
	}
	if !accessToken(token.Headers[0]) {
		return id, "its type is neither JWT nor at+jwt", nil
	}
	var unverified jwt.Claims
	if token.UnsafeClaimsWithoutVerification(&unverified) != nil {
		return id, "its claims cannot be read", nil
	}
	if reason := p.refuse(&unverified); reason != "" {
		return id, reason, nil
	}
	fetched := p.keys.current()
	claims, all, err := p.verify(ctx, token)
	if err != nil || all == nil {
		return id, "no key of the provider signed it", err
	}
	if reason := p.refuse(claims); reason != "" {
		return id, reason, nil
	}
	if id, reason = p.identity(claims, all); reason == "" {
		p.verified.known.Add(hash, verdict{claims, id, fetched}) // a fetch in between makes it unusable
	}
	return id, reason, nil
}

// accessToken refuses tokens that the same provider signs for other ends, such as logout (RFC 8725 section
// 3.11, RFC 9068 section 4).
func accessToken(header jose.Header) bool {
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

// refuse checks what RFC 7519 section 4.1 says of issuer, audience and times. A token without an expiry is refused.
func (p *Provider) refuse(claims *jwt.Claims) string {
	if claims.Expiry == nil {
		return "it never expires"
	}
	err := claims.ValidateWithLeeway(jwt.Expected{Issuer: p.issuer, AnyAudience: p.audiences, Time: p.now()}, p.skew)
	if err != nil {
		return strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: ") // constants of that package
	}
	return ""
}

// verify returns the claims under a signature that holds. If none does, all is nil.
func (p *Provider) verify(ctx context.Context, token *jwt.JSONWebToken) (claims *jwt.Claims, all map[string]any, err error) {
	header := token.Headers[0]
	known, err := p.keys.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	if claims, all, err = p.try(ctx, token, known); err != nil || all != nil || header.KeyID != "" && holds(known, header.KeyID) {
		return claims, all, err
	}
	if known, err = p.keys.renew(ctx); err != nil { // the provider may have rotated
		return nil, nil, err
	}
	return p.try(ctx, token, known)
}

// try verifies with each key that the token's header allows, once it is its turn.
func (p *Provider) try(ctx context.Context, token *jwt.JSONWebToken, known []jose.JSONWebKey) (*jwt.Claims, map[string]any, error) {
	release, err := p.verified.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	header := token.Headers[0]
	for i := range known {
		if !fits(&known[i], header.KeyID, header.Algorithm) {
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

// identity reads who is meant from claims that were verified.
func (p *Provider) identity(claims *jwt.Claims, all map[string]any) (id identity.Identity, reason string) {
	if claims.Subject == "" {
		return id, "it has no subject"
	}
	tenant, _ := p.tenant.find(all).(string)
	if !identity.ValidTenant(tenant) {
		return id, "its claim of the tenant is missing or no tenant"
	}
	scopes, ok := readScopes(p.scopes.find(all))
	if !ok {
		return id, "its claim of the scopes is neither text nor a list of texts"
	}
	if !identity.ValidGrant(tenant, scopes) {
		return id, "it is for every tenant, and has scopes of data"
	}
	return identity.Identity{
		Issuer: p.issuer, Subject: claims.Subject, Tenant: tenant, Scopes: scopes, Expires: claims.Expiry.Time(),
	}, ""
}
