package session

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/format"
)

// Cookie is the name of the cookie that holds a session's id. The prefix makes browsers refuse it from
// anywhere but this host over HTTPS (RFC 6265bis section 4.1.3.2).
const Cookie = "__Host-session"

const contextKey = "coffer session"

// Sessions are the sessions of an Echo server's visitors, held by a cookie that scripts cannot read.
type Sessions struct {
	manager *Manager
	record  func(c echo.Context) Record
}

// NewSessions makes the sessions of a manager. record, if it is not nil, returns what is told of a request's sessions.
func NewSessions(m *Manager, record func(c echo.Context) Record) *Sessions {
	if record == nil {
		record = func(echo.Context) Record {
			return func(_ audit.Action, _ format.KeyID, failed error) error { return failed }
		}
	}
	return &Sessions{m, record}
}

// Middleware opens the visitor's session for the handlers behind it, which read it with From. A visitor
// without a session in force goes on without one. Any other failure ends the request with its error.
func (s *Sessions) Middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		cookie, err := c.Cookie(Cookie)
		if err != nil {
			return next(c)
		}
		found, err := s.manager.Get(c.Request().Context(), cookie.Value, s.record(c))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil {
			c.Set(contextKey, found)
		}
		return next(c)
	}
}

// From returns the visitor's session, if there is one.
func From(c echo.Context) (Session, bool) {
	found, ok := c.Get(contextKey).(Session)
	return found, ok
}

// Start makes a session for the visitor, as after signing in, and ends an earlier one, so that an id from
// before is worth nothing afterwards. Errors are those of Create and End.
func (s *Sessions) Start(c echo.Context, data []byte, ttl time.Duration) error {
	if err := s.end(c); err != nil {
		return err
	}
	id, made, err := s.manager.Create(c.Request().Context(), data, ttl, s.record(c))
	if err != nil {
		return err
	}
	c.Set(contextKey, made)
	set(c, id, int(ttl/time.Second))
	return nil
}

// Extend keeps the visitor's session in force for ttl from now. Errors are those of Manager.Extend.
func (s *Sessions) Extend(c echo.Context, ttl time.Duration) error {
	cookie, err := c.Cookie(Cookie)
	if err != nil {
		return ErrNotFound
	}
	extended, err := s.manager.Extend(c.Request().Context(), cookie.Value, ttl, s.record(c))
	if err != nil {
		return err
	}
	c.Set(contextKey, extended)
	set(c, cookie.Value, int(ttl/time.Second))
	return nil
}

// End ends the visitor's session, as at signing out, and deletes the cookie.
func (s *Sessions) End(c echo.Context) error {
	if err := s.end(c); err != nil {
		return err
	}
	c.Set(contextKey, nil)
	set(c, "", -1)
	return nil
}

func (s *Sessions) end(c echo.Context) error {
	cookie, err := c.Cookie(Cookie)
	if err != nil {
		return nil
	}
	if err := s.manager.End(c.Request().Context(), cookie.Value, s.record(c)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func set(c echo.Context, id string, seconds int) {
	c.SetCookie(&http.Cookie{
		Name: Cookie, Value: id, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode,
	})
}
