package config

import (
	"log/slog"
	"strings"

	"github.com/coffer-storage/coffer/internal/identity/oidc"
)

// checkOIDC checks that the settings of the identity provider fit each other, and that package oidc accepts them.
func (l *loader) checkOIDC(c *Config) {
	o := &c.OIDC
	switch {
	case o.Issuer != "" && len(o.Audiences) == 0:
		l.refuse("COFFER_OIDC_AUDIENCE", "must be set if COFFER_OIDC_ISSUER is: tokens for other audiences are not for this server")
	case o.Issuer == "" && (len(o.Audiences) > 0 || o.JWKSURL != ""):
		l.refuse("COFFER_OIDC_ISSUER", "must be set if COFFER_OIDC_AUDIENCE or COFFER_OIDC_JWKS_URL is")
	case o.Issuer != "":
		if _, err := o.Open(slog.New(slog.DiscardHandler)); err != nil {
			l.problems = append(l.problems, "COFFER_OIDC_* do not make a provider:\n    "+strings.ReplaceAll(err.Error(), "\n", "\n    "))
		}
	}
}

// Open returns a provider that accepts the issuer's tokens. It does not connect.
func (o *OIDC) Open(log *slog.Logger) (*oidc.Provider, error) {
	return oidc.New(oidc.Options{
		Issuer: o.Issuer, Audiences: o.Audiences, JWKSURL: o.JWKSURL, TenantClaim: o.TenantClaim, ScopesClaim: o.ScopesClaim, Log: log,
	})
}
