package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/shared/codes"
)

// problem is the body of every failed request (RFC 9457). Its type is about:blank, which is omitted, because the code
// identifies the error.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"requestId"`

	Checks []checkJSON `json:"checks,omitempty"` // only from /readyz, for operators
}

const problemType = "application/problem+json"

// statusCanceled is logged if the client did not wait for the whole response. It is never sent.
const statusCanceled = 499

// invalid returns an invalid_argument error. The text must not quote the request.
func invalid(text string) error { return &codes.Error{ErrorCode: "invalid_argument", Message: text} }

var (
	errMethod   = &codes.Error{ErrorCode: "method_not_allowed", Message: "the path does not support this method"}
	errRoute    = &codes.Error{ErrorCode: "unknown_route", Message: "the server has no such path: check the base URL"}
	errTooLarge = &codes.Error{ErrorCode: "too_large", Message: "the body is larger than its limit"}
	errBody     = &codes.Error{ErrorCode: "malformed", Message: "the body ended early or cannot be read"}
	errTimeout  = &codes.Error{ErrorCode: "timeout", Message: "the operation took longer than its time limit"}
	errSlowBody = &codes.Error{ErrorCode: "timeout", Message: "the body was not received within the time limit for a request"}
	errShutdown = &codes.Error{ErrorCode: "shutting_down", Message: "the server closed the connection while it shut down"}

	// errNotReceived means that the client closed the connection, or read too slowly, before it had the whole response.
	errNotReceived = errors.New("api: the client did not receive the response")
)

// sendProblem sends the problem document of err, unless a response was sent already. It returns the status to log.
func (s *server) sendProblem(c echo.Context, err error) int {
	if errors.Is(err, errNotReceived) || c.Request().Context().Err() != nil && errors.Is(err, context.Canceled) {
		return statusCanceled
	}
	info, detail := describe(err)
	response := c.Response()
	if response.Committed {
		return response.Status
	}
	header := response.Header()
	for _, name := range []string{echo.HeaderContentEncoding, "ETag"} {
		header.Del(name)
	}
	seconds, ok := limit.RetryAfter(err)
	if !ok {
		seconds = 1
	}
	body := newProblem(header, c.Request(), info, seconds, problem{Detail: detail, Checks: failingChecks(err)})
	if c, ok := c.(*call); ok && c.mayBeSending() {
		s.writeBeforeBody(c, info.Status, body)
	} else {
		_ = write(c, info.Status, body) // fails if the client is gone
	}
	return info.Status
}

// newProblem sets the headers of the response to a request that failed, and returns its body. The header must have the
// request's id already. retryAfter is in seconds.
func newProblem(header http.Header, r *http.Request, info codes.Info, retryAfter int, p problem) (body []byte) {
	header.Set(echo.HeaderContentType, problemType)
	header.Set(echo.HeaderCacheControl, "no-store")
	if info.Retry {
		header.Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	if r.Method == http.MethodHead {
		header.Set("Coffer-Code", info.Code)
	}
	p.Title, p.Status, p.Code, p.RequestID = http.StatusText(info.Status), info.Status, info.Code, header.Get(echo.HeaderXRequestID)
	body, _ = json.Marshal(p) // strings and numbers cannot fail
	return append(body, '\n')
}

// Refuse sends the problem document of a code and closes the connection without reading the body. It is for a program that
// cannot call New yet, because it is starting.
func Refuse(w http.ResponseWriter, r *http.Request, info codes.Info) {
	header := w.Header()
	header.Set(echo.HeaderXRequestID, requestID(r))
	header.Set(echo.HeaderXContentTypeOptions, "nosniff")
	header.Set("Connection", "close")
	body := newProblem(header, r, info, 1, problem{Detail: info.Meaning})
	setLength(header, len(body))
	w.WriteHeader(info.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // fails if the client is gone
	}
}

// describe returns the row of an error in the table of codes, and the text for the client. For the server's own faults that is
// the row's text, because the cause is only for the log.
func describe(err error) (codes.Info, string) {
	err = translate(err)
	info := codes.Of(err)
	var coded interface {
		error
		Code() string
	}
	if info.Status < http.StatusInternalServerError && errors.As(err, &coded) {
		return info, strings.TrimPrefix(coded.Error(), "coffer: ")
	}
	return info, info.Meaning
}

// translate returns an error with a code for errors of Echo, of reading the body and of time limits. It returns every other
// error unchanged.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var fromEcho *echo.HTTPError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	case errors.As(err, &fromEcho) && fromEcho.Code == http.StatusNotFound:
		return errRoute
	case errors.As(err, &fromEcho) && fromEcho.Code == http.StatusMethodNotAllowed:
		return errMethod
	}
	return err
}

// isClientFault reports whether err is about the request, and not about the server or the state of a key.
func isClientFault(err error) bool {
	status := codes.Of(err).Status
	return status < http.StatusInternalServerError && status != http.StatusConflict
}
