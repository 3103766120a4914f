package api

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Check is one thing that a server needs to work.
type Check struct {
	Code string // of package codes' table: what is answered where Run fails
	Run  func(ctx context.Context) error
}

// readyTimeout bounds the checks together: who asks for readiness asks again.
const readyTimeout = 3 * time.Second

// health is what a server says of itself.
type health struct {
	Status   string   `json:"status"`             // "ok", or "degraded"
	Degraded []string `json:"degraded,omitempty"` // the codes of what does not work, and is done without for now
}

// livez says that the process answers; nothing that it depends on is asked.
func (s *server) livez(c *call) error { return healthy(c, health{Status: "ok"}) }

// readyz says whether requests can be served now, and if not, by its problem's code, what is missing. Where
// they can for a time only, it says that too.
func (s *server) readyz(c *call) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), min(readyTimeout, s.timeout))
	defer cancel()
	for _, check := range s.ready {
		if err := check.Run(ctx); err != nil {
			return &notReady{check.Code, err}
		}
	}
	h := health{Status: "ok"}
	for _, check := range s.degraded {
		if check.Run(ctx) != nil {
			h.Status, h.Degraded = "degraded", append(h.Degraded, check.Code)
		}
	}
	return healthy(c, h)
}

func healthy(c *call, h health) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return answerJSON(c, http.StatusOK, h)
}

// notReady is a failed check. It does not unwrap: whatever the cause's code, a time limit too, the check's is answered.
type notReady struct {
	code  string
	cause error
}

func (e *notReady) Error() string { return "not ready: " + e.cause.Error() }

// Code returns the check's code.
func (e *notReady) Code() string { return e.code }
