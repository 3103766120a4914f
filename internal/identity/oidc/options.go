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

// Options says whose tokens are accepted, and how they are read.
type Options struct {
	Issuer      string        // URL, exactly as in the tokens
	Audiences   []string      // a token must be for one of them
	JWKSURL     string        // of the provider's keys (RFC 7517); empty: what OpenID Connect Discovery says
	Algorithms  []string      // of RS256, PS256, ES256 and EdDSA; none given is all of them
	Skew        time.Duration // by which clocks may differ, up to 5 minutes; 0 is one minute
	TenantClaim string        // name of a claim or JSON pointer to it; empty: tenant
	ScopesClaim string        // the same; empty: scope
	AllowHTTP   bool          // of providers beyond this machine too: whoever is on the way can then make tokens
	Log         *slog.Logger
}

const (
	defaultSkew = time.Minute
	maxSkew     = 5 * time.Minute
)

var allowed = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// New checks the options; every one that is wrong is named, and none is quoted. It does not connect.
func New(o Options) (*Provider, error) {
	algorithms, badAlgorithm := parseAlgorithms(o.Algorithms)
	p := &Provider{
		issuer: o.Issuer, audiences: o.Audiences, algorithms: algorithms, skew: o.Skew,
		tenant: parsePath(either(o.TenantClaim, "tenant")), scopes: parsePath(either(o.ScopesClaim, "scope")),
		log: o.Log, now: time.Now, verified: newVerified(),
	}
	if p.skew == 0 {
		p.skew = defaultSkew
	}
	if err := errors.Join(
		checkURL("the issuer", o.Issuer, o.AllowHTTP, false),
		checkJWKSURL(&o),
		refuseIf(len(o.Audiences) == 0 || slices.Contains(o.Audiences, ""), "an audience must be given"),
		refuseIf(badAlgorithm, "the algorithms must be of RS256, PS256, ES256 and EdDSA"),
		refuseIf(p.skew < 0 || p.skew > maxSkew, "the clock skew must be from 0 to 5m"),
		refuseIf(p.tenant == nil, "the tenant's claim must be a name or a JSON pointer"),
		refuseIf(p.scopes == nil, "the scopes' claim must be a name or a JSON pointer"),
		refuseIf(o.Log == nil, "a log must be given"),
	); err != nil {
		return nil, err
	}
	source := &source{issuer: o.Issuer, jwksURL: o.JWKSURL, allowHTTP: o.AllowHTTP, client: newClient()}
	p.keys = &keys{fetch: source.fetch, timeout: fetchTimeout, log: o.Log, now: func() time.Time { return p.now() }}
	return p, nil
}

func either(given, otherwise string) string {
	if given == "" {
		return otherwise
	}
	return given
}

func refuseIf(bad bool, text string) error {
	if !bad {
		return nil
	}
	return errors.New("oidc: " + text)
}

func parseAlgorithms(names []string) (list []jose.SignatureAlgorithm, bad bool) {
	if len(names) == 0 {
		return allowed, false
	}
	for _, name := range names {
		if !slices.Contains(allowed, jose.SignatureAlgorithm(name)) {
			return nil, true
		}
		list = append(list, jose.SignatureAlgorithm(name))
	}
	return list, false
}

// checkJWKSURL takes none: then the issuer says where its keys are.
func checkJWKSURL(o *Options) error {
	if o.JWKSURL == "" {
		return nil
	}
	return checkURL("the JWKS URL", o.JWKSURL, o.AllowHTTP, true)
}

// checkURL takes https, and http where the machine itself is asked or the operator allows it: keys that came
// in the clear prove nothing.
func checkURL(what, text string, allowHTTP, query bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !query && (u.RawQuery != "" || u.ForceQuery):
		return fmt.Errorf("oidc: %s must be a URL such as https://id.example.com", what)
	case u.Scheme == "https", u.Scheme == "http" && (allowHTTP || loopback(u.Hostname())):
		return nil
	}
	return fmt.Errorf("oidc: %s must be https; http is for this machine only", what)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
