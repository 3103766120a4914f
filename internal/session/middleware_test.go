package session_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/kv"
)

// visitor sends requests with the cookies that it was given last.
type visitor struct {
	t      *testing.T
	server http.Handler
	cookie *http.Cookie
}

func (v *visitor) get(path string) *httptest.ResponseRecorder {
	v.t.Helper()
	request := httptest.NewRequest("GET", path, nil)
	if v.cookie != nil {
		request.AddCookie(v.cookie)
	}
	answer := httptest.NewRecorder()
	v.server.ServeHTTP(answer, request)
	for _, cookie := range answer.Result().Cookies() {
		v.cookie = cookie
	}
	return answer
}

func site(store kv.Store) http.Handler {
	sessions := session.NewSessions(session.New(store, "site"), nil)
	e := echo.New()
	e.Use(sessions.Middleware)
	e.GET("/in", func(c echo.Context) error { return sessions.Start(c, []byte("user_123"), time.Hour) })
	e.GET("/more", func(c echo.Context) error { return sessions.Extend(c, 2*time.Hour) })
	e.GET("/out", func(c echo.Context) error { return sessions.End(c) })
	e.GET("/who", func(c echo.Context) error {
		found, ok := session.From(c)
		if !ok {
			return c.NoContent(http.StatusUnauthorized)
		}
		return c.Blob(http.StatusOK, "text/plain", found.Data)
	})
	return e
}

func TestMiddleware(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		v := &visitor{t: t, server: site(store)}
		require.Equal(t, http.StatusUnauthorized, v.get("/who").Code)
		require.Equal(t, http.StatusOK, v.get("/in").Code)
		first := v.cookie
		require.Equal(t, "__Host-session", first.Name)
		require.Equal(t, []any{true, true, http.SameSiteLaxMode, "/", 3600}, []any{first.HttpOnly, first.Secure, first.SameSite, first.Path, first.MaxAge})
		require.Equal(t, "user_123", v.get("/who").Body.String())
		require.Equal(t, http.StatusOK, v.get("/more").Code)
		require.Equal(t, []any{first.Value, 7200}, []any{v.cookie.Value, v.cookie.MaxAge})

		require.Equal(t, http.StatusOK, v.get("/in").Code)
		require.NotEqual(t, first.Value, v.cookie.Value)
		old := &visitor{t: t, server: v.server, cookie: first}
		require.Equal(t, http.StatusUnauthorized, old.get("/who").Code, "an id from before signing in is worth nothing")

		kept := &visitor{t: t, server: v.server, cookie: v.cookie}
		require.Equal(t, http.StatusOK, v.get("/out").Code)
		require.Negative(t, v.cookie.MaxAge)
		require.Equal(t, http.StatusUnauthorized, kept.get("/who").Code)
		junk := &visitor{t: t, server: v.server, cookie: &http.Cookie{Name: session.Cookie, Value: "junk"}}
		require.Equal(t, http.StatusUnauthorized, junk.get("/who").Code)
		require.Equal(t, http.StatusInternalServerError, junk.get("/more").Code)
	})
}

// A store that fails is not a visitor without a session.
func TestMiddlewareWithoutStore(t *testing.T) {
	onEach(t, func(t *testing.T, store kv.Store) {
		v := &visitor{t: t, server: site(store)}
		v.get("/in")
		require.NoError(t, store.Close())
		require.Equal(t, http.StatusInternalServerError, v.get("/who").Code)
	})
}
