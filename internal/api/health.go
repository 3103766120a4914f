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

// healthJSON is the state of a server that can serve requests.
type healthJSON struct {
	Status   string      `json:"status"`             // "ok" or "degraded"
	Degraded []string    `json:"degraded,omitempty"` // codes of what does not work but is not needed at the moment
	Checks   []checkJSON `json:"checks,omitempty"`   // failing checks, for operators
}

// checkJSON is a failing check, for operators.
type checkJSON struct {
	Code   string `json:"code"`
	Effect string `json:"effect"` // "not_ready" or "degraded"
	Since  string `json:"since"`
	Detail string `json:"detail"`
}

// getLive reports that the process responds. It checks nothing that the process depends on.
func (s *server) getLive(c *call) error { return writeHealth(c, healthJSON{Status: "ok"}) }

// getReady reports whether the server can serve requests. If not, the code of the problem document is that of the failing
// check. Operators also get the details of all failing checks.
func (s *server) getReady(c *call) error {
	operator, err := s.isOperator(c)
	if err != nil {
		return err
	}
	failures := s.ready.Failures(c.Request().Context())
	var checks []checkJSON
	if operator {
		checks = newChecksJSON(failures)
	}
	h := healthJSON{Status: "ok", Checks: checks}
	for _, f := range failures {
		if !f.Degrades {
			return &notReadyError{f.Code, f.Err, checks}
		}
		h.Status, h.Degraded = "degraded", append(h.Degraded, f.Code)
	}
	return writeHealth(c, h)
}

// isOperator reports whether a request that needs no token has the token of an operator: one of every tenant, with the scope
// keys:admin. A wrong token is refused as for every operation. A token that cannot be checked at the moment is ignored.
func (s *server) isOperator(c *call) (bool, error) {
	if bearerToken(c.Request().Header[echo.HeaderAuthorization]) == "" {
		return false, nil
	}
	ctx, cancel := c.withTimeout(min(readiness.CheckTimeout, s.timeout))
	defer cancel()
	done, err := s.admit(ctx, c)
	switch {
	case err != nil && codes.Of(err).Status < http.StatusInternalServerError:
		return false, err
	case err != nil:
		return false, nil
	}
	defer done()
	return c.id.Tenant == identity.EveryTenant && c.id.Scopes.Has(identity.KeysAdmin), nil
}

func newChecksJSON(failures []readiness.Failure) []checkJSON {
	checks := make([]checkJSON, len(failures))
	for i, f := range failures {
		checks[i] = checkJSON{f.Code, "not_ready", f.Since.UTC().Format(time.RFC3339), f.Err.Error()}
		if f.Degrades {
			checks[i].Effect = "degraded"
		}
	}
	return checks
}

func writeHealth(c *call, h healthJSON) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return writeJSON(c, http.StatusOK, h)
}

// notReadyError is a failing check. It does not unwrap, so that the code is always that of the check and not that of the
// cause, such as a timeout.
type notReadyError struct {
	code   string
	cause  error
	checks []checkJSON // all failing checks, for operators
}

func (e *notReadyError) Error() string { return "not ready: " + e.cause.Error() }

// Code returns the code of the check.
func (e *notReadyError) Code() string { return e.code }

// failingChecks returns the checks that the caller of /readyz may see.
func failingChecks(err error) []checkJSON {
	var e *notReadyError
	if errors.As(err, &e) {
		return e.checks
	}
	return nil
}

// getMetrics sends the metrics in Prometheus' text format.
func (s *server) getMetrics(c *call) error {
	if err := parseNoQuery(c); err != nil {
		return err
	}
	s.metrics.Handler().ServeHTTP(c.Response(), c.Request())
	return nil
}
