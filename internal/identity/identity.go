// Package identity says who is calling, for which tenant, and what they may do.
//
// It guarantees that a refusal tells nothing: whatever is wrong with a bearer token, the answer is
// [ErrUnauthorized], and no error holds any part of a token.
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
	// ErrUnauthorized is every refusal of a bearer token.
	ErrUnauthorized = &codes.Error{Of: "unauthorized", Text: "the bearer token is missing, wrong, revoked or expired"}
	// ErrForbidden says that a token is good and lacks a scope.
	ErrForbidden = &codes.Error{Of: "forbidden", Text: "the token lacks a scope that the operation takes"}
	// ErrUnavailable says that nothing can be decided about tokens now. It is no verdict, and must not be
	// counted as a wrong token.
	ErrUnavailable = &codes.Error{Of: "identity_unavailable", Text: "the identity provider's keys cannot be had"}
)

// DefaultTenant is whose data everything is where nobody names a tenant.
const DefaultTenant = "default"

// EveryTenant is the tenant of an operator's identity. It has no data of its own, so such an identity has
// scopes of AdminScopes only.
const EveryTenant = "*"

// APIToken is the issuer of identities that come from this server's own tokens; others have the URL of theirs.
const APIToken = "coffer"

// Identity is an authenticated caller. Issuer and Subject together name it: two issuers may know the same subject.
type Identity struct {
	Issuer  string
	Subject string // an API token's id, or a provider's subject
	Tenant  string // as ValidTenant
	Scopes  Scopes
	Expires time.Time // zero: never
}

// May returns nil if the identity has all of the scopes, otherwise an error that wraps ErrForbidden and names them.
func (i Identity) Authorize(needed Scopes) error {
	if i.Scopes.Has(needed) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrForbidden, needed)
}

// TenantRule describes ValidTenant, for messages.
const TenantRule = "1 to 255 bytes of printable UTF-8 in the normal form NFKC, without spaces at either end"

// ValidTenant reports whether id can name a tenant, as TenantRule says: no two valid ids look the same because of control
// characters, invisible characters, spaces or normalization (Unicode Standard Annex 15).
func ValidTenant(id string) bool {
	return id != "" && len(id) <= format.MaxOwner && utf8.ValidString(id) && norm.NFKC.IsNormalString(id) &&
		strings.TrimSpace(id) == id && !strings.ContainsFunc(id, unprintable)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError || IsInvisible(r) }

// Invisible reports whether a character that Unicode counts as printable is shown as nothing: those of the property
// Default_Ignorable_Code_Point (Unicode Standard section 5.21), such as variation selectors, and the braille pattern without dots.
func IsInvisible(r rune) bool {
	return r == '\u2800' || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// ValidGrant reports whether an identity of the tenant may have the scopes: any of a tenant's own, and for
// EveryTenant those of AdminScopes.
func ValidGrant(tenant string, scopes Scopes) bool {
	return ValidTenant(tenant) && (tenant != EveryTenant || scopes&^AdminScopes == 0)
}

// Administers reports whether the identity's rights extend to a tenant.
func (i Identity) CanAdminister(tenant string) bool {
	return i.Tenant == EveryTenant || i.Tenant == tenant
}

// Authenticator decides on bearer tokens. It returns ErrUnauthorized for every token that it does not accept;
// any other error means that it could not decide. It must be safe for concurrent use.
type Authenticator interface {
	Authenticate(ctx context.Context, bearer string) (Identity, error)
}

// Any accepts what one of the authenticators accepts, asked in order. If none accepts a token and one of them
// could not decide, its error is returned.
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
