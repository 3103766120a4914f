package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options configures a Provider.
type Options struct {
	Issuer      string        // URL, exactly as in the tokens
	Audiences   []string      // a token must be for at least one of them
	JWKSURL     string        // of the provider's keys (RFC 7517); empty: use OpenID Connect Discovery
	Algorithms  []string      // of RS256, PS256, ES256 and EdDSA; empty: all of them
	Skew        time.Duration // maximum difference of clocks, up to 5 minutes; 0 means one minute
	TenantClaim string        // name of a claim or JSON pointer to it; empty: tenant
	ScopesClaim string        // the same; empty: scope
	AllowHTTP   bool          // also for providers on other machines. Anyone on the network path can then forge tokens
	Log         *slog.Logger
}

const (
	defaultSkew = time.Minute
	maxSkew     = 5 * time.Minute
)

var allowedAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// New returns a Provider. It reports all invalid options in one error, which does not quote their values. It does not
// connect to the provider.
func New(o Options) (*Provider, error) {
	algorithms, badAlgorithm := parseAlgorithms(o.Algorithms)
	p := &Provider{
		issuer: o.Issuer, audiences: o.Audiences, algorithms: algorithms, skew: o.Skew,
		tenant: parsePath(orDefault(o.TenantClaim, "tenant")), scopes: parsePath(orDefault(o.ScopesClaim, "scope")),
		log: o.Log, now: time.Now, verified: newVerified(),
	}
	if p.skew == 0 {
		p.skew = defaultSkew
	}
	if err := errors.Join(
		checkURL("the issuer", o.Issuer, o.AllowHTTP, false),
		checkJWKSURL(&o),
		errorIf(len(o.Audiences) == 0 || slices.Contains(o.Audiences, ""), "an audience must be given"),
		errorIf(badAlgorithm, "the algorithms must be among RS256, PS256, ES256 and EdDSA"),
		errorIf(p.skew < 0 || p.skew > maxSkew, "the clock skew must be from 0 to 5m"),
		errorIf(p.tenant == nil, "the tenant claim must be a name or a JSON pointer"),
		errorIf(p.scopes == nil, "the scopes claim must be a name or a JSON pointer"),
		errorIf(o.Log == nil, "a log must be given"),
	); err != nil {
		return nil, err
	}
	source := &keySource{issuer: o.Issuer, jwksURL: o.JWKSURL, allowHTTP: o.AllowHTTP, client: newClient()}
	p.keys = &keyCache{fetch: source.fetch, timeout: fetchTimeout, log: o.Log, now: func() time.Time { return p.now() }}
	return p, nil
}

func orDefault(given, otherwise string) string {
	if given == "" {
		return otherwise
	}
	return given
}

func errorIf(bad bool, text string) error {
	if !bad {
		return nil
	}
	return errors.New("oidc: " + text)
}

func parseAlgorithms(names []string) (list []jose.SignatureAlgorithm, bad bool) {
	if len(names) == 0 {
		return allowedAlgorithms, false
	}
	for _, name := range names {
		if !slices.Contains(allowedAlgorithms, jose.SignatureAlgorithm(name)) {
			return nil, true
		}
		list = append(list, jose.SignatureAlgorithm(name))
	}
	return list, false
}

// checkJWKSURL checks the URL of the keys. It may be empty if the keys are discovered.
func checkJWKSURL(o *Options) error {
	if o.JWKSURL == "" {
		return nil
	}
	return checkURL("the JWKS URL", o.JWKSURL, o.AllowHTTP, true)
}

// checkURL checks that a URL uses https. It accepts http only for this machine or if the operator allows it, because
// keys that were fetched without TLS prove nothing.
func checkURL(what, text string, allowHTTP, query bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !query && (u.RawQuery != "" || u.ForceQuery):
		return fmt.Errorf("oidc: %s must be a URL such as https://id.example.com", what)
	case u.Scheme == "https", u.Scheme == "http" && (allowHTTP || isLoopback(u.Hostname())):
		return nil
	}
	return fmt.Errorf("oidc: %s must use https; http is only allowed for this machine", what)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
