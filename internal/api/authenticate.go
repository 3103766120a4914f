package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/codes"
)

// authenticate lets requests under /v1, and of every operation that names a scope, pass with a bearer token
// only (RFC 6750), before anything is said of what is there. It goes by the decoded path, which begins with
// /v1 for every path that the router takes to a handler of it.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := callOf(e)
		if c.open() {
			return next(e)
		}
		ctx, cancel := c.limit(s.timeout)
		defer cancel()
		end, err := s.admit(ctx, c)
		if err != nil {
			return err
		}
		defer end()
		defer s.release(c)
		if c.operation.needsData() {
			if c.tenant, err = s.tenants.of(ctx, c.id.Tenant); err != nil {
				return err
			}
		}
		return next(e)
	}
}

// open reports whether the request needs no token.
func (c *call) open() bool {
	if c.operation != nil {
		return len(c.operation.Scopes) == 0
	}
	path := c.Request().URL.Path
	return path != "/v1" && !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v1:")
}

// admit finds out who calls and what they may do, and counts the request. It asks nothing of what the request is about.
func (s *server) admit(ctx context.Context, c *call) (end func(), err error) {
	token := bearer(c.Request().Header[echo.HeaderAuthorization])
	c.id, err = s.identity.Authenticate(ctx, token)
	if errors.Is(err, identity.ErrUnauthorized) {
		s.pause(ctx, c)
		return nil, s.refuse(c, s.unauthorized(c, token, err))
	}
	if err != nil {
		return nil, err
	}
	limit.MarkAuthenticated(ctx)
	if end, err = s.limits.Begin(c.id.Tenant); err != nil {
		s.pause(ctx, c)
		return nil, s.refuse(c, err)
	}
	if err := c.operation.allows(c.id); err != nil {
		end()
		return nil, s.refuse(c, err)
	}
	return end, nil
}

// unauthorized returns the error for a token that was not accepted. A wrong token counts against its address, and one too
// many is told to wait; a missing one does not count. A right token never comes here, whatever others at its address do.
func (s *server) unauthorized(c *call, token string, err error) error {
	if token != "" {
		if tooMany := s.failures.RecordFailure(s.proxies.client(c.Request())); tooMany != nil {
			return tooMany
		}
	}
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="coffer"`)
	return err
}

// refusal is what a request was refused for, and how often: of a batch, each part may be.
type refusal struct {
	code  string
	times int
}

// refuse notes a refusal and gives it back.
func (s *server) refuse(c *call, err error) error {
	code := codes.Of(err).Code
	i := slices.IndexFunc(c.refusals, func(r refusal) bool { return r.code == code })
	if i < 0 {
		i, c.refusals = len(c.refusals), append(c.refusals, refusal{code: code})
	}
	c.refusals[i].times++
	return err
}

// recordRefusals records the refusals of a request, with the address that it came from.
func (s *server) recordRefusals(c *call) {
	if len(c.refusals) == 0 {
		return
	}
	address := s.proxies.client(c.Request())
	for _, r := range c.refusals {
		e := c.event(audit.AccessRefused)
		e.Code, e.Facts = r.code, audit.Facts{audit.FactClient: address.String()}
		s.refusals.Record(c.Request().Context(), limit.Network(address).String(), e, r.times)
	}
}

// allows holds an identity to the scopes that the document names. Where each part of a request needs its own,
// one of them will do here.
func (o *operation) allows(id identity.Identity) error {
	if o == nil {
		return nil
	}
	if o.Each && id.Scopes&o.scopes != 0 {
		return nil
	}
	return id.Authorize(o.scopes)
}

// needsData reports whether the operation works with a tenant's data: administration goes on where its keys
// cannot be had.
func (o *operation) needsData() bool { return o != nil && o.scopes&^identity.AdminScopes != 0 }

// bearer returns the token of an Authorization header; the empty string, which is no token, where there is
// none or more than one.
func bearer(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}
