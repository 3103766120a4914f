package identity_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/shared/codes"
)

var all = []string{"cache:read", "cache:write", "package:encrypt", "package:decrypt", "keys:admin", "audit:read", "metrics:read"}

func TestScopesFormSet(t *testing.T) {
	require.Equal(t, all, identity.AllScopes.Names())
	require.Equal(t, []string{}, identity.Scopes(0).Names())
	set, err := identity.ParseScopes([]string{"audit:read", "cache:read", "audit:read"})
	require.NoError(t, err)
	require.Equal(t, identity.AuditRead|identity.CacheRead, set)
	require.Equal(t, "cache:read audit:read", set.String())
	for i, name := range all {
		one, ok := identity.ParseScope(name)
		require.True(t, ok)
		require.Equal(t, identity.Scopes(1)<<i, one)
		require.True(t, identity.AllScopes.Has(one))
	}
	for _, wrong := range []string{"", "cache", "cache:*", "CACHE:READ", "cache:read cache:write", " cache:read"} {
		t.Run(wrong, func(t *testing.T) {
			_, err := identity.ParseScopes([]string{"cache:read", wrong})
			require.ErrorIs(t, err, identity.ErrScope)
		})
	}
}

func TestAuthorizeNamesMissingScopes(t *testing.T) {
	id := identity.Identity{Scopes: identity.CacheRead | identity.AuditRead}
	require.NoError(t, id.Authorize(identity.CacheRead))
	require.NoError(t, id.Authorize(identity.CacheRead|identity.AuditRead))
	err := id.Authorize(identity.CacheRead | identity.CacheWrite)
	require.ErrorIs(t, err, identity.ErrForbidden)
	require.Contains(t, err.Error(), "cache:write")
	require.Equal(t, 403, codes.Of(err).Status)
	require.ErrorIs(t, identity.Identity{}.Authorize(identity.CacheRead), identity.ErrForbidden)
}

func TestValidTenantRefusesLookalikes(t *testing.T) {
	for id, valid := range map[string]bool{
		"": false, "a": true, "default": true, strings.Repeat("x", 255): true, strings.Repeat("x", 256): false, "\xff": false, "Ñ/..": true,
		"*": true, "St. Mary's": true, "病院": true, "क्लिनिक": true, "klinik-ü": true, "klinik-u\u0308": false, "\u212bngstrom": false, "\ufb01": false,
		" a": false, "a ": false, "a\u00a0": false, "\ufeffa": false, "a\x00": false, "a\n": false, "a\tb": false, "\x7f": false, "\u0085": false, "a\u200bb": false,
		"a\ufe0f": false, "a\ufe00b": false, "a\U000e0100": false, "a\u034fb": false, "\u115f": false, "a\u17b4": false, "a\u180b": false, "a\U000e0020": false,
		"a\u2800": false, "\u3164": false, "a\u202eb": false, "\u2028": false, "\ufffd": false, "\ue000": false,
	} {
		t.Run(id, func(t *testing.T) {
			require.Equal(t, valid, identity.ValidTenant(id), "%q", id)
		})
	}
}

// The identity of an operator can only have the scopes of administration.
func TestEveryTenantHasAdminScopesOnly(t *testing.T) {
	for bit := identity.Scopes(1); bit&identity.AllScopes != 0; bit <<= 1 {
		admin := bit == identity.KeysAdmin || bit == identity.AuditRead || bit == identity.MetricsRead
		require.Equal(t, admin, identity.ValidGrant(identity.EveryTenant, bit), bit)
		require.True(t, identity.ValidGrant("clinic", bit))
	}
	require.False(t, identity.ValidGrant("", identity.CacheRead))
	require.True(t, identity.Identity{Tenant: identity.EveryTenant}.CanAdminister("clinic"))
	require.True(t, identity.Identity{Tenant: "clinic"}.CanAdminister("clinic"))
	require.False(t, identity.Identity{Tenant: "clinic"}.CanAdminister("other"))
}

type fixedAuthenticator map[string]error

func (a fixedAuthenticator) Authenticate(_ context.Context, bearer string) (identity.Identity, error) {
	err, known := a[bearer]
	if !known {
		err = identity.ErrUnauthorized
	}
	return identity.Identity{Subject: bearer}, err
}

// An authenticator that cannot decide does not prevent another one from accepting a token, and its error is not
// reported as a refusal.
func TestAnyReturnsFirstIdentity(t *testing.T) {
	broken := errors.New("broken")
	any := identity.Any(fixedAuthenticator{"a": nil, "unsure": broken, "either": broken}, fixedAuthenticator{"b": nil, "either": nil, "unsure": identity.ErrUnavailable})
	for _, good := range []string{"a", "b", "either"} {
		id, err := any.Authenticate(t.Context(), good)
		require.NoError(t, err)
		require.Equal(t, good, id.Subject)
	}
	for bearer, want := range map[string]error{"": identity.ErrUnauthorized, "c": identity.ErrUnauthorized, "unsure": broken} {
		t.Run(bearer, func(t *testing.T) {
			id, err := any.Authenticate(t.Context(), bearer)
			require.ErrorIs(t, err, want)
			require.Zero(t, id)
		})
	}
	_, err := identity.Any().Authenticate(t.Context(), "a")
	require.ErrorIs(t, err, identity.ErrUnauthorized)
}
