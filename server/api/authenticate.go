package api

import (
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/token"
)

// Tokens decides on bearer tokens; token.File is such.
type Tokens interface {
	// Verify returns nil for a token in force and token.ErrUnauthorized for any other.
	Verify(token string) error
}

var _ Tokens = (*token.File)(nil)

// authenticate lets requests under /v1 pass with the bearer token only (RFC 6750), before anything is said of what is there. It goes by
// the decoded path, which begins with /v1 for every path that the router takes to a handler of it.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if path != "/v1" && !strings.HasPrefix(path, "/v1/") {
			return next(c)
		}
		header := c.Response().Header()
		header.Set(echo.HeaderCacheControl, "no-store")
		if err := s.tokens.Verify(bearer(c.Request().Header[echo.HeaderAuthorization])); err != nil {
			header.Set(echo.HeaderWWWAuthenticate, `Bearer realm="coffer"`)
			return err
		}
		return next(c)
	}
}

// bearer returns the token of an Authorization header; the empty string, which is no token, where there is none or more than one.
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
