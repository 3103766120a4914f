package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// What pages of other origins may send and see. Tokens go in a header and never in a cookie, so no
// credentials are allowed.
var (
	corsMethods = strings.Join([]string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}, ", ")
	corsSent    = strings.Join([]string{"Accept", "Authorization", "Content-Type", contextHeader, "If-Match", "If-None-Match", sessionHeader, "X-Request-Id"}, ", ")
	corsSeen    = strings.Join([]string{
		"ETag", "Coffer-Class", "Coffer-Code", contextHeader, contextLengthHeader, "Coffer-Encrypted-At", "Coffer-Key-Id", "Coffer-TTL", "Retry-After", "X-Request-Id",
	}, ", ")
)

// cors lets pages of the configured origins use the API, and answers what their browsers ask before (Fetch
// standard, CORS protocol). All other origins get no such header, and their browsers refuse them the answer.
func (s *server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		origin, header := c.Request().Header.Get(echo.HeaderOrigin), c.Response().Header()
		if len(s.origins) > 0 {
			header.Add(echo.HeaderVary, echo.HeaderOrigin)
		}
		if origin == "" || !slices.Contains(s.origins, origin) {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowOrigin, origin)
		header.Set(echo.HeaderAccessControlExposeHeaders, corsSeen)
		header.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if c.Request().Method != http.MethodOptions || c.Request().Header.Get(echo.HeaderAccessControlRequestMethod) == "" {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowMethods, corsMethods)
		header.Set(echo.HeaderAccessControlAllowHeaders, corsSent)
		header.Set(echo.HeaderAccessControlMaxAge, "600")
		return c.NoContent(http.StatusNoContent)
	}
}
