package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
)

// call is a request and its state. observe puts it in the place of Echo's own context.
type call struct {
	echo.Context
	requestID string
	route     *route // nil if the API has no such route
	id        identity.Identity
	class     classify.Class // class of the value, for the metrics
	refusals  []refusal
	delayed   bool            // the response was delayed because the request was refused
	timeLimit context.Context // see withTimeout

	tenant *tenant     // nil if the operation does not use the tenant's keys
	cache  cache.Cache // the tenant's cache, over store
	store  memLimitedStore
	memory callMemory

	readingBody  bool // reading the body has started
	bodyReceived bool // the body was read to its end
}

// callOf returns the call that observe put in the place of Echo's context.
func callOf(c echo.Context) *call { return c.(*call) }

// operation returns the id of the operation, or an empty string if the API has no such route.
func (c *call) operation() string {
	if c.route == nil {
		return ""
	}
	return c.route.operation
}

// withTimeout returns a context that ends after timeout, for the work of the store and the keys. A later call returns the same
// context, unless a body was read in the meantime that took more than 1 % of the timeout. That time is the client's, so a
// new timeout starts.
func (c *call) withTimeout(timeout time.Duration) (context.Context, context.CancelFunc) {
	if c.timeLimit != nil {
		return c.timeLimit, func() {}
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), timeout)
	c.timeLimit = ctx
	return ctx, cancel
}

// useTenant sets the tenant whose keys and entries the call works with.
func (c *call) useTenant(s *server, t *tenant) {
	c.tenant, c.store = t, memLimitedStore{Store: s.tenants.store, server: s, call: c}
	c.cache = *t.cache.WithStore(&c.store)
}

// sessions returns the tenant's sessions. Reads of the store count against the call's memory.
func (c *call) sessions() *session.Manager { return c.tenant.newSessions(&c.store) }

// observe is the outermost middleware. It gives the request an id, sends the problem document if the request fails, counts
// the request and logs it. The log has the route but no path, query or header, because a key may be a patient's id. The
// client's address is logged only for refused requests, so that attacks can be traced.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		request, response := c.Request(), c.Response()
		id := requestID(request)
		response.Header().Set(echo.HeaderXRequestID, id)
		s.announceClose(request, response)
		call := &call{Context: c, requestID: id, route: s.routes[request.Method+" "+c.Path()], memory: callMemory{free: uncounted}}
		err := next(call)
		s.recordRefusals(call)
		status := response.Status
		if err != nil {
			status = s.sendProblem(call, err)
		}
		s.metrics.Operation(metrics.OperationResult{
			Operation: call.operation(), Tenant: call.id.Tenant, Class: call.class, Err: translate(err), Canceled: isCanceled(status, err),
			Took: time.Since(start),
		})
		if err == nil && status < http.StatusBadRequest && len(call.refusals) == 0 && !s.logsSuccess(call) {
			return nil
		}
		attributes := appendCause(make([]slog.Attr, 0, 10), status, err)
		if len(call.refusals) > 0 {
			attributes = append(attributes, slog.String("client", s.proxies.client(request).String()))
		}
		s.logRequest(request.Context(), level(status, err), append(attributes,
			slog.String("id", id),
			slog.String("method", standardMethod(request.Method)),
			slog.String("route", c.Path()),
			slog.Int("status", status),
			slog.Int64("received", request.ContentLength),
			slog.Int64("sent", response.Size),
			slog.Float64("milliseconds", float64(time.Since(start).Microseconds())/1000))...)
		return nil
	}
}

// announceClose makes the server close the connection after the response in three cases:
//   - The request has a Transfer-Encoding. net/http does not show whether it also had a Content-Length, in which case the
//     bytes that follow must not be read as a request (RFC 9112 section 6.1).
//   - The request is of HTTP/1.0, because net/http removes its Transfer-Encoding.
//   - The server is shutting down.
func (s *server) announceClose(request *http.Request, response *echo.Response) {
	if len(request.TransferEncoding) > 0 || !request.ProtoAtLeast(1, 1) {
		response.Header().Set(echo.HeaderConnection, "close")
		return
	}
	response.Before(func() {
		if s.shutdown.Err() != nil {
			response.Header().Set(echo.HeaderConnection, "close")
		}
	})
}

// probes are the operations that monitoring calls. Their successes would fill the log.
var probes = []string{"getLive", "getReady", "getMetrics"}

// logsSuccess reports whether a successful request is logged: the configured share is, except for probes.
func (s *server) logsSuccess(c *call) bool {
	if slices.Contains(probes, c.operation()) {
		return false
	}
	return s.logShare >= 1 || s.logShare > 0 && mathrand.Float64() < s.logShare
}

// isCanceled reports whether a request failed because the client did not send the body in time, or did not read the whole
// response.
func isCanceled(status int, err error) bool {
	return status == statusCanceled || errors.Is(err, errSlowBody)
}

// level returns Error for failures that an operator must investigate. These do not include a shutdown, a client that does not
// send its body, and a full store, of which the log has one warning when it starts.
func level(status int, err error) slog.Level {
	if status >= http.StatusInternalServerError && status != http.StatusInsufficientStorage && !isCanceled(status, err) && codes.Of(err).Code != "shutting_down" {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// logRequest is slog.Logger.LogAttrs without the caller's position in the source, which costs time and is not logged.
func (s *server) logRequest(ctx context.Context, level slog.Level, attributes ...slog.Attr) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, "request", 0)
	record.AddAttrs(attributes...)
	_ = s.log.Handler().Handle(ctx, record)
}

// appendCause appends the code of an error and, if an operator must investigate it, its text. The text of a client's error is
// not logged.
func appendCause(attributes []slog.Attr, status int, err error) []slog.Attr {
	if err == nil || status == statusCanceled {
		return attributes
	}
	info, _ := describe(err)
	attributes = append(attributes, slog.String("code", info.Code))
	if status >= http.StatusInternalServerError {
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	return attributes
}

// externalID matches a request id that a proxy may have set: a UUID or a trace id, which cannot be a token or a name.
var externalID = regexp.MustCompile(`^[0-9a-fA-F-]{16,64}$`)

// requestID returns the request's own id, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(echo.HeaderXRequestID); id != "" && externalID.MatchString(id) {
		return id
	}
	return rand.Text()
}

// standardMethod returns the method if it is one of HTTP's own, and OTHER if not, because a client may send any word as a
// method.
func standardMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost, http.MethodPatch, http.MethodOptions:
		return method
	}
	return "OTHER"
}

// panicRecovery configures Echo's recovery from panics, which becomes an error of the handler. The value of a panic may contain
// data, so only the values of the Go runtime are kept.
var panicRecovery = middleware.RecoverConfig{
	DisablePrintStack: true, DisableErrorHandler: true,
	LogErrorFunc: func(_ echo.Context, err error, _ []byte) error {
		var fault runtime.Error
		if errors.As(err, &fault) {
			return fmt.Errorf("panic: %s at %s", fault.Error(), panicCallers())
		}
		return fmt.Errorf("panic with a %T at %s", err, panicCallers())
	},
}

const (
	maxPanicCallers = 16
	panicSkip       = 5 // runtime.Callers, panicCallers, LogErrorFunc, Echo's deferred function and runtime.gopanic
)

// panicCallers lists the functions and lines that led to a panic. Unlike a stack trace it has no arguments.
func panicCallers() string {
	var counters [maxPanicCallers]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(panicSkip, counters[:])])
	var lines []string
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		lines = append(lines, fmt.Sprintf("%s:%d", f.Function, f.Line))
	}
	return strings.Join(lines, " < ")
}
