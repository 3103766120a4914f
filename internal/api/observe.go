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

	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/shared/codes"
)

// observe is the outermost middleware: it gives the request an id, answers its error and logs it. The log
// holds the route and never the path, the query or a header, because a key may be a patient's id. It holds the client's
// address only of a refused request, so that attacks can be traced.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		request, response := c.Request(), c.Response()
		id := requestID(request)
		response.Header().Set(echo.HeaderXRequestID, id)
		s.announceClose(request, response)
		call := &call{Context: c, server: s, requestID: id, operation: s.operations[request.Method+" "+c.Path()], free: small}
		err := recovered(next, call)
		s.recordRefusals(call)
		status := response.Status
		if err != nil {
			status = s.fail(call, err)
		}
		s.metrics.Operation(metrics.OperationResult{
			Operation: call.name(), Tenant: call.id.Tenant, Class: call.class, Err: translate(err), Canceled: canceled(status, err),
			Took: time.Since(start),
		})
		if err == nil && status < http.StatusBadRequest && len(call.refusals) == 0 && !s.logged(call) {
			return nil
		}
		attributes := appendCause(make([]slog.Attr, 0, 10), status, err)
		if len(call.refusals) > 0 {
			attributes = append(attributes, slog.String("client", s.proxies.client(request).String()))
		}
		s.logRequest(request.Context(), level(status, err), append(attributes,
			slog.String("id", id),
			slog.String("method", method(request.Method)),
			slog.String("route", c.Path()),
			slog.Int("status", status),
			slog.Int64("received", request.ContentLength),
			slog.Int64("sent", response.Size),
			slog.Float64("milliseconds", float64(time.Since(start).Microseconds())/1000))...)
		return nil
	}
}

// probes are the operations of monitoring, which would fill the log.
var probes = []string{"getLive", "getReady", "getMetrics"}

// logged reports whether a request that succeeded has a line: no probe has one, and of the others the configured share.
func (s *server) logged(c *call) bool {
	if slices.Contains(probes, c.name()) {
		return false
	}
	return s.logShare >= 1 || s.logShare > 0 && mathrand.Float64() < s.logShare
}

// announceClose ends the connection of a request with Transfer-Encoding after its answer: net/http does not show whether
// there was a Content-Length as well, after which what follows must not be read as a request (RFC 9112 section 6.1). It ends
// that of every HTTP/1.0 request, because net/http removes its Transfer-Encoding unseen. While the server ends, it ends every connection.
func (s *server) announceClose(request *http.Request, response *echo.Response) {
	if len(request.TransferEncoding) > 0 || !request.ProtoAtLeast(1, 1) {
		response.Header().Set(echo.HeaderConnection, "close")
		return
	}
	response.Before(func() {
		if s.ending.Err() != nil {
			response.Header().Set(echo.HeaderConnection, "close")
		}
	})
}

// canceled reports whether a request failed because its client did not send the body in time, or did not take the whole answer.
func canceled(status int, err error) bool {
	return status == statusCancelled || errors.Is(err, errSlowBody)
}

// level returns Error for failures that the operator must look into. A server that shuts down is not one of them, and neither is a
// client that does not send its body, or a lack of room, of which the log has one warning when it begins.
func level(status int, err error) slog.Level {
	if status >= http.StatusInternalServerError && status != http.StatusInsufficientStorage && !canceled(status, err) && codes.Of(err).Code != "shutting_down" {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// logRequest is slog.Logger.LogAttrs without the caller's place in the source, which no handler here shows.
func (s *server) logRequest(ctx context.Context, level slog.Level, attributes ...slog.Attr) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, "request", 0)
	record.AddAttrs(attributes...)
	_ = s.log.Handler().Handle(ctx, record)
}

// appendCause appends what is logged of an error: all of it for what the operator must look into, the code alone for
// what a client got wrong.
func appendCause(attributes []slog.Attr, status int, err error) []slog.Attr {
	if err == nil || status == statusCancelled {
		return attributes
	}
	info, _ := describe(err)
	attributes = append(attributes, slog.String("code", info.Code))
	if status >= http.StatusInternalServerError {
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	return attributes
}

// externalID is a request id that a proxy may have set: a UUID or trace id, which can be neither a token nor a name.
var externalID = regexp.MustCompile(`^[0-9a-fA-F-]{16,64}$`)

func requestID(r *http.Request) string {
	if id := r.Header.Get(echo.HeaderXRequestID); id != "" && externalID.MatchString(id) {
		return id
	}
	return rand.Text()
}

// method is a request's method if it is one of HTTP's own: any word can be sent as one.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost, http.MethodPatch, http.MethodOptions:
		return m
	}
	return "OTHER"
}

// panicked is a panic as an error. It holds the panic's value only where the runtime made it: any other may hold data.
type panicked struct{ text string }

func (p *panicked) Error() string { return p.text }

// recovered calls next and turns a panic into an error.
func recovered(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		value := recover()
		if value == http.ErrAbortHandler {
			panic(value)
		}
		switch value := value.(type) {
		case nil:
		case runtime.Error:
			err = &panicked{fmt.Sprintf("panic: %v at %s", value, callers())}
		default:
			err = &panicked{fmt.Sprintf("panic with a %T at %s", value, callers())}
		}
	}()
	return next(c)
}

const panicDepth = 16

// callers names the functions and lines that led to a panic; unlike a stack trace it holds no arguments.
func callers() string {
	var counters [panicDepth]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(4, counters[:])])
	var lines []string
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		lines = append(lines, fmt.Sprintf("%s:%d", f.Function, f.Line))
	}
	return strings.Join(lines, " < ")
}
