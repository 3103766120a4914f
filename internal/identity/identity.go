// Package identity describes authenticated callers, the tenants they act for, and their scopes.
//
// A refusal reveals nothing about a bearer token: every refused token gets the same error, [ErrUnauthorized], and no
// error contains any part of a token.
package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

var (
	// ErrUnauthorized reports that a bearer token is refused, for whatever reason.
	ErrUnauthorized = &codes.Error{ErrorCode: "unauthorized", Message: "the bearer token is missing, wrong, revoked or expired"}
	// ErrForbidden reports that an accepted token lacks a scope.
	ErrForbidden = &codes.Error{ErrorCode: "forbidden", Message: "the token lacks a scope that the operation needs"}
	// ErrUnavailable reports that a token cannot be checked now. It must not be counted as a wrong token.
	ErrUnavailable = &codes.Error{ErrorCode: "identity_unavailable", Message: "the identity provider's keys cannot be fetched"}
)

// DefaultTenant is the tenant of requests that do not name a tenant.
const DefaultTenant = "default"

// EveryTenant is the tenant of an operator's identity, which acts for all tenants. It has no data of its own, so such
// an identity can only have AdminScopes.
const EveryTenant = "*"

// APIToken is the issuer of identities from this server's own API tokens. Other issuers are URLs.
const APIToken = "coffer"

// Identity is an authenticated caller. Issuer and Subject identify it together, because two issuers may use the same
// subject.
type Identity struct {
	Issuer  string
	Subject string // id of an API token, or the provider's subject
	Tenant  string // valid according to ValidTenant
	Scopes  Scopes
	Expires time.Time // zero: never
}

// Authorize returns nil if the identity has all needed scopes. Otherwise it returns an error that wraps ErrForbidden
// and names the needed scopes.
func (i Identity) Authorize(needed Scopes) error {
	if i.Scopes.Has(needed) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrForbidden, needed)
}

// TenantRule describes valid tenant ids, for messages.
const TenantRule = "1 to 255 bytes of printable UTF-8 in the normal form NFKC, without spaces at either end"

// ValidTenant reports whether id can name a tenant, as TenantRule describes. The rule excludes ids that look the same
// but differ in control characters, invisible characters, spaces or normalization (Unicode Standard Annex 15).
func ValidTenant(id string) bool {
	return id != "" && len(id) <= format.MaxOwner && utf8.ValidString(id) && norm.NFKC.IsNormalString(id) &&
		strings.TrimSpace(id) == id && !strings.ContainsFunc(id, isUnprintable)
}

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError || IsInvisible(r) }

// IsInvisible reports whether a character is printable according to Unicode but displayed as nothing. These are the
// characters with the property Default_Ignorable_Code_Point (Unicode Standard section 5.21), such as variation
// selectors, and the blank braille pattern.
func IsInvisible(r rune) bool {
	return r == '\u2800' || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// ValidGrant reports whether an identity of the tenant may have the scopes: all scopes for a single tenant, AdminScopes
// for EveryTenant.
func ValidGrant(tenant string, scopes Scopes) bool {
	return ValidTenant(tenant) && (tenant != EveryTenant || scopes&^AdminScopes == 0)
}

// CanAdminister reports whether the identity may act for a tenant.
func (i Identity) CanAdminister(tenant string) bool {
	return i.Tenant == EveryTenant || i.Tenant == tenant
}

// Authenticator checks bearer tokens. Authenticate returns ErrUnauthorized for every token that is refused. Any other
// error means that the token could not be checked. It must be safe for concurrent use.
type Authenticator interface {
	Authenticate(ctx context.Context, bearer string) (Identity, error)
}

// Any returns an Authenticator that asks the given ones in order and returns the first identity. If all of them fail
// and one could not check the token, Any returns that error.
func Any(authenticators ...Authenticator) Authenticator { return anyOf(authenticators) }

type anyOf []Authenticator

func (a anyOf) Authenticate(ctx context.Context, bearer string) (Identity, error) {
	var refusal error = ErrUnauthorized
	for _, one := range a {
		id, err := one.Authenticate(ctx, bearer)
		if err == nil {
			return id, nil
		}
		if errors.Is(refusal, ErrUnauthorized) {
			refusal = err
		}
	}
	return Identity{}, refusal
}
