package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/codes"
)

// authenticate is the middleware that admits requests under /v1, and of every operation that requires a scope, only with a
// bearer token (RFC 6750). A request without one learns nothing about what exists. The decoded path decides: it starts with
// /v1 for every path that the router gives to a handler under /v1.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := callOf(e)
		if c.isPublic() {
			return next(e)
		}
		ctx, cancel := c.withTimeout(s.timeout)
		defer cancel()
		done, err := s.admit(ctx, c)
		if err != nil {
			return err
		}
		defer done()
		defer s.releaseMemory(c)
		if c.route != nil && c.route.access.usesTenantKeys() {
			t, err := s.tenants.get(ctx, c.id.Tenant)
			if err != nil {
				return err
			}
			c.useTenant(s, t)
		}
		return next(e)
	}
}

// isPublic reports whether the request needs no token.
func (c *call) isPublic() bool {
	if c.route != nil {
		return c.route.access.scopes == 0
	}
	path := c.Request().URL.Path
	return path != "/v1" && !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v1:")
}

// admit identifies the caller, counts the request against the tenant's limits and checks the scopes. It does not look at what
// the request is about. The caller of admit must call done when the request has ended.
func (s *server) admit(ctx context.Context, c *call) (done func(), err error) {
	token := bearerToken(c.Request().Header[echo.HeaderAuthorization])
	c.id, err = s.identity.Authenticate(ctx, token)
	if errors.Is(err, identity.ErrUnauthorized) {
		s.delayRefusal(ctx, c)
		return nil, c.refuse(s.unauthorized(c, token, err))
	}
	if err != nil {
		return nil, err
	}
	limit.MarkAuthenticated(ctx)
	if done, err = s.limits.Begin(c.id.Tenant); err != nil {
		s.delayRefusal(ctx, c)
		return nil, c.refuse(err)
	}
	if err := c.authorize(); err != nil {
		done()
		return nil, c.refuse(err)
	}
	return done, nil
}

// authorize checks that the caller has the scopes of the operation.
func (c *call) authorize() error {
	if c.route == nil {
		return nil
	}
	access := c.route.access
	if access.forEach && c.id.Scopes&access.scopes != 0 {
		return nil
	}
	return c.id.Authorize(access.scopes)
}

// unauthorized returns the error for a token that is missing or wrong. A wrong token counts against the client's address, and
// too many of them are refused with a time to wait. Right tokens are served, whatever other clients at the address send.
func (s *server) unauthorized(c *call, token string, err error) error {
	if token != "" {
		if tooMany := s.failures.RecordFailure(s.proxies.client(c.Request())); tooMany != nil {
			return tooMany
		}
	}
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="coffer"`)
	return err
}

// bearerToken returns the token of an Authorization header. It returns an empty string, which is not a token, if there is no
// token or more than one header.
func bearerToken(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}

// refusal is a reason for which a request was refused. Each part of a batch can be refused.
type refusal struct {
	code  string
	count int
}

// refuse notes that the request, or a part of it, is refused with err, and returns err.
func (c *call) refuse(err error) error {
	code := codes.Of(err).Code
	i := slices.IndexFunc(c.refusals, func(r refusal) bool { return r.code == code })
	if i < 0 {
		i, c.refusals = len(c.refusals), append(c.refusals, refusal{code: code})
	}
	c.refusals[i].count++
	return err
}

// recordRefusals records the refusals of a request in the audit log, with the client's address.
func (s *server) recordRefusals(c *call) {
	if len(c.refusals) == 0 {
		return
	}
	address := s.proxies.client(c.Request())
	for _, r := range c.refusals {
		e := c.event(audit.AccessRefused)
		e.Code, e.Facts = r.code, audit.Facts{audit.FactClient: address.String()}
		s.refusals.Record(c.Request().Context(), limit.Network(address).String(), e, r.count)
	}
}

// maxDelayed is the number of requests that are delayed at the same time. Further ones are refused at once.
const maxDelayed = 1000

// refusalDelay delays the responses to refused requests. A client that waits for each response then sends few requests, and
// most of the processor time is left for the other clients.
type refusalDelay struct {
	average time.Duration // 0 means no delay
	waiting chan struct{}
}

func newRefusalDelay(average time.Duration) refusalDelay {
	return refusalDelay{average, make(chan struct{}, maxDelayed)}
}

// delayRefusal delays the response to a refused request.
func (s *server) delayRefusal(ctx context.Context, c *call) {
	if s.delay.average > 0 {
		c.delayed = true
		s.delay.wait(ctx, s.shutdown)
	}
}

// wait returns after the delay, and earlier if too many requests wait, the request ends or the server shuts down.
func (d refusalDelay) wait(ctx, shutdown context.Context) {
	select {
	case d.waiting <- struct{}{}:
		defer func() { <-d.waiting }()
	default:
		return
	}
	timer := time.NewTimer(d.average/2 + rand.N(d.average)) // random, so that connections do not continue at the same time
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-shutdown.Done():
	}
}

// trustedProxies are the networks whose X-Forwarded-For is used.
type trustedProxies []netip.Prefix

// client returns the address that a request comes from: the other end of the connection or, if that is a trusted proxy, the
// last address in X-Forwarded-For that is not a trusted proxy. An entry that is not an address ends the search, because a
// client can have sent it and everything before it. The result is then the address of the proxy that added the next entry.
func (p trustedProxies) client(r *http.Request) netip.Addr {
	found, ok := parseAddress(r.RemoteAddr)
	if !ok || !p.contain(found) {
		return found
	}
	lines := r.Header[echo.HeaderXForwardedFor]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			entry := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				more = false
			}
			address, ok := parseAddress(strings.TrimSpace(entry))
			if !ok {
				return found
			}
			if found = address; !p.contain(found) {
				return found
			}
		}
	}
	return found
}

func (p trustedProxies) contain(address netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(address) })
}

// parseAddress parses an address with or without a port: 203.0.113.7, 203.0.113.7:1234, 2001:db8::1, [2001:db8::1] or
// [2001:db8::1]:443.
func parseAddress(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		var port netip.AddrPort
		port, err = netip.ParseAddrPort(text)
		address = port.Addr()
	}
	if inner, found := strings.CutPrefix(text, "["); err != nil && found {
		if inner, found = strings.CutSuffix(inner, "]"); found {
			address, err = netip.ParseAddr(inner)
		}
	}
	return address.Unmap().WithZone(""), err == nil
}
