package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/shared/codes"
)

// health is what a server reports about itself.
type health struct {
	Status   string      `json:"status"`             // "ok", or "degraded"
	Degraded []string    `json:"degraded,omitempty"` // the codes of what does not work, and is done without for now
	Checks   []checkJSON `json:"checks,omitempty"`   // what fails, for operators
}

// checkJSON is a check that fails, as operators see it.
type checkJSON struct {
	Code   string `json:"code"`
	Effect string `json:"effect"` // "not_ready" or "degraded"
	Since  string `json:"since"`
	Detail string `json:"detail"`
}

// livez reports that the process answers; it asks nothing that the process depends on.
func (s *server) livez(c *call) error { return healthy(c, health{Status: "ok"}) }

// readyz reports whether requests can be served now, and if not, by its problem's code, what is missing. Operators see the details
// of all checks that fail.
func (s *server) readyz(c *call) error {
	operator, err := s.operatorAsks(c)
	if err != nil {
		return err
	}
	failures := s.ready.Failures(c.Request().Context())
	var checks []checkJSON
	if operator {
		checks = describeFailures(failures)
	}
	h := health{Status: "ok", Checks: checks}
	for _, f := range failures {
		if !f.Degrades {
			return &notReady{f.Code, f.Err, checks}
		}
		h.Status, h.Degraded = "degraded", append(h.Degraded, f.Code)
	}
	return healthy(c, h)
}

// operatorAsks reports whether a request without need of a token has one of an operator: with the scope keys:admin of every tenant.
// A wrong token is refused as everywhere, but one that cannot be checked now is as good as none.
func (s *server) operatorAsks(c *call) (bool, error) {
	if bearer(c.Request().Header[echo.HeaderAuthorization]) == "" {
		return false, nil
	}
	ctx, cancel := c.limit(min(readiness.CheckTimeout, s.timeout))
	defer cancel()
	end, err := s.admit(ctx, c)
	switch {
	case err != nil && codes.Of(err).Status < http.StatusInternalServerError:
		return false, err
	case err != nil:
		return false, nil
	}
	defer end()
	return c.id.Tenant == identity.EveryTenant && c.id.Scopes.Has(identity.KeysAdmin), nil
}

func describeFailures(failures []readiness.Failure) []checkJSON {
	checks := make([]checkJSON, len(failures))
	for i, f := range failures {
		checks[i] = checkJSON{f.Code, "not_ready", f.Since.UTC().Format(time.RFC3339), f.Err.Error()}
		if f.Degrades {
			checks[i].Effect = "degraded"
		}
	}
	return checks
}

func healthy(c *call, h health) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return answerJSON(c, http.StatusOK, h)
}

// notReady is a failed check. It does not unwrap: whatever the cause's code, a time limit too, the check's is answered.
type notReady struct {
	code   string
	cause  error
	checks []checkJSON // all that fail, for operators
}

func (e *notReady) Error() string { return "not ready: " + e.cause.Error() }

// Code returns the check's code.
func (e *notReady) Code() string { return e.code }

// failingChecks returns what the caller of /readyz may see besides the code.
func failingChecks(err error) []checkJSON {
	var e *notReady
	if errors.As(err, &e) {
		return e.checks
	}
	return nil
}
