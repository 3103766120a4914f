package config

import (
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/identity/oidc"
	"github.com/coffer-storage/coffer/server/audit"
)

// split reads a list with commas; an empty text is none.
func split(text string) (list []string) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			list = append(list, one)
		}
	}
	return list
}

// oidc sees that the settings go together; what they may be, package oidc says.
func (l *loader) oidc(r *raw) OIDC {
	o := OIDC{
		Issuer: r.OIDCIssuer, Audiences: split(r.OIDCAudience), JWKSURL: r.OIDCJWKSURL,
		TenantClaim: r.OIDCTenantClaim, ScopesClaim: r.OIDCScopesClaim,
	}
	switch {
	case o.Issuer != "" && len(o.Audiences) == 0:
		l.refuse("COFFER_OIDC_AUDIENCE", "must be set where COFFER_OIDC_ISSUER is: tokens for others are not for this server")
	case o.Issuer == "" && (len(o.Audiences) > 0 || o.JWKSURL != ""):
		l.refuse("COFFER_OIDC_ISSUER", "must be set where COFFER_OIDC_AUDIENCE or COFFER_OIDC_JWKS_URL is")
	case o.Issuer != "":
		if _, err := o.Open(slog.New(slog.DiscardHandler)); err != nil {
			l.problems = append(l.problems, "COFFER_OIDC_* do not make a provider:\n    "+strings.ReplaceAll(err.Error(), "\n", "\n    "))
		}
	}
	return o
}

// Open makes what accepts the provider's tokens. It does not connect.
func (o *OIDC) Open(log *slog.Logger) (*oidc.Provider, error) {
	return oidc.New(oidc.Options{
		Issuer: o.Issuer, Audiences: o.Audiences, JWKSURL: o.JWKSURL, TenantClaim: o.TenantClaim, ScopesClaim: o.ScopesClaim, Log: log,
	})
}

// defaultPorts are what browsers leave out.
var defaultPorts = map[string]string{"https": "443", "http": "80"}

// isOrigin reports whether text is an origin as browsers send it (RFC 6454 section 6.2), and no pattern: *
// would be everybody's pages.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") {
		return false
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok || u.Port() == port || strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		return false
	}
	return text == strings.ToLower(u.Scheme+"://"+u.Host)
}

func (l *loader) origins(text string) []string {
	list := split(text)
	for _, one := range list {
		if !isOrigin(one) {
			l.refuse("COFFER_CORS_ORIGINS", "must be origins as browsers send them, such as https://app.example.com, separated by commas: "+
				"without a path, a default port or letters beyond ASCII")
			return nil
		}
	}
	return list
}

func (l *loader) proxies(text string) (list []netip.Prefix) {
	for _, one := range split(text) {
		p, err := netip.ParsePrefix(one)
		if address, e := netip.ParseAddr(one); e == nil {
			p, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			l.refuse("COFFER_TRUSTED_PROXIES", "must be addresses or networks such as 10.0.0.0/8, separated by commas")
			return nil
		}
		list = append(list, p)
	}
	if share := addressShare(list); share >= tooMuchTrust {
		what := "every address"
		if share < 1 {
			what = "a 64th of all addresses, or more"
		}
		l.warn("%s trusts %s: any client there can choose the address that is recorded and limited for it; name the proxies' networks",
			l.name("COFFER_TRUSTED_PROXIES"), what)
	}
	return list
}

// tooMuchTrust is the share of all addresses from which trusted proxies are warned of. All private networks together are less: those of
// IPv4 are a 110th, fc00::/7 is a 128th.
const tooMuchTrust = 1.0 / 64

// addressShare returns the share of all IPv4 or of all IPv6 addresses that is in networks, whichever is larger. Addresses that are in
// several networks count several times.
func addressShare(networks []netip.Prefix) float64 {
	var v4, v6 float64
	for _, p := range networks {
		if share := math.Ldexp(1, -p.Bits()); p.Addr().Is4() {
			v4 += share
		} else {
			v6 += share
		}
	}
	return max(v4, v6)
}

func (l *loader) audit(r *raw) Audit {
	a := Audit{
		Context: split(r.AuditContext), MaxSize: int64(l.integer("COFFER_AUDIT_MAX_SIZE", r.AuditMaxSize, 0, math.MaxInt)),
		Budget: int64(l.integer("COFFER_AUDIT_BUDGET", r.AuditBudget, 0, math.MaxInt)),
	}
	if r.AuditMaxAge != "none" {
		d, err := duration.Parse(r.AuditMaxAge)
		if a.MaxAge = d; err != nil || d < time.Minute || d > maxTTL {
			l.refuse("COFFER_AUDIT_MAX_AGE", "must be none, or a duration from 1m to 3650d, such as 24h or 30d")
		}
	}
	if r.AuditKeep != "all" {
		if a.Keep = l.integer("COFFER_AUDIT_KEEP", r.AuditKeep, 0, maxLimit); a.Keep < 1 {
			l.refuse("COFFER_AUDIT_KEEP", "must be all, or at least 1")
		}
	}
	switch r.AuditSync {
	case "all":
		a.Sync = audit.SyncAll
	case "notable":
		a.Sync = audit.SyncNotable
	case "later":
		a.Sync = audit.SyncLater
	default:
		l.refuse("COFFER_AUDIT_SYNC", "must be all, notable or later")
	}
	switch r.AuditOnFailure {
	case "stop":
		a.OnFailure = audit.Refuse
	case "continue":
		a.OnFailure = audit.Continue
		l.warn("%s is continue: keys are used unrecorded while the audit log cannot be written", l.name("COFFER_AUDIT_ON_FAILURE"))
	default:
		l.refuse("COFFER_AUDIT_ON_FAILURE", "must be stop or continue")
	}
	switch r.AuditCopy {
	case "":
	case "stdout":
		a.Copy = CopyStdout
	case "redis":
		if a.Copy = CopyRedis; !slices.ContainsFunc(redisWays, l.set) {
			l.refuse("COFFER_AUDIT_COPY", "must not be redis without a Redis for the cache")
		}
	default:
		l.refuse("COFFER_AUDIT_COPY", "must be stdout or redis")
	}
	return a
}
