package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/shared/codes"
)

// problem is the body of every failed request (RFC 9457). Its type is about:blank, which is left out: code
// says what happened.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"requestId"`

	Checks []checkJSON `json:"checks,omitempty"` // of /readyz, for operators
}

const problemType = "application/problem+json"

// statusCancelled is only logged, and counted as canceled: the client did not wait for its answer, or not for all of it.
const statusCancelled = 499

// invalid is an error for what the client got wrong. The text must not quote what the client sent.
func invalid(text string) error { return &codes.Error{Of: "invalid_argument", Text: text} }

var (
	errMethod   = &codes.Error{Of: "method_not_allowed", Text: "the path does not support that method"}
	errRoute    = &codes.Error{Of: "unknown_route", Text: "the server has no such path: check the base URL"}
	errTooLarge = &codes.Error{Of: "too_large", Text: "the body is over its limit"}
	errBody     = &codes.Error{Of: "malformed", Text: "the body ended early or cannot be read"}
	errTimeout  = &codes.Error{Of: "timeout", Text: "the operation took longer than its time limit"}
	errSlowBody = &codes.Error{Of: "timeout", Text: "the body did not come within the time for reading a request"}
	errEnding   = &codes.Error{Of: "shutting_down", Text: "the server closed the connection while it shut down"}

	// errNotTaken means that the client closed the connection, or read too slowly, before it had the whole answer.
	errNotTaken = errors.New("api: the client did not take the answer")
)

// fail answers a request with the problem that err is, if nothing was answered yet. It returns the status to log.
func (s *server) fail(c echo.Context, err error) int {
	if errors.Is(err, errNotTaken) || c.Request().Context().Err() != nil && errors.Is(err, context.Canceled) {
		return statusCancelled
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
	body := describeProblem(header, c.Request(), info, seconds, problem{Detail: detail, Checks: failingChecks(err)})
	if one, ok := c.(*call); ok && one.stillSends() {
		s.writeEarly(one, info.Status, body)
	} else {
		_ = write(c, info.Status, body) // it fails if the client is gone
	}
	return info.Status
}

// describeProblem sets the headers of an answer to a request that failed, and returns the body. retry is in seconds. The header of the
// request's id must be set.
func describeProblem(header http.Header, r *http.Request, info codes.Info, retry int, p problem) (body []byte) {
	header.Set(echo.HeaderContentType, problemType)
	header.Set(echo.HeaderCacheControl, "no-store")
	if info.Retry {
		header.Set(echo.HeaderRetryAfter, strconv.Itoa(retry))
	}
	if r.Method == http.MethodHead {
		header.Set("Coffer-Code", info.Code)
	}
	p.Title, p.Status, p.Code, p.RequestID = http.StatusText(info.Status), info.Status, info.Code, header.Get(echo.HeaderXRequestID)
	body, _ = json.Marshal(p) // cannot fail: texts and numbers
	return append(body, '\n')
}

// Refuse answers a request with a row of the table of codes and ends the connection, without reading the body. It is for a program that
// has no handler of New yet.
func Refuse(w http.ResponseWriter, r *http.Request, info codes.Info) {
	header := w.Header()
	header.Set(echo.HeaderXRequestID, requestID(r))
	header.Set(echo.HeaderXContentTypeOptions, "nosniff")
	header.Set("Connection", "close")
	body := describeProblem(header, r, info, 1, problem{Detail: info.Meaning})
	setLength(header, len(body))
	w.WriteHeader(info.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // it fails if the client is gone
	}
}

// describe finds an error's row of the table and what is said of it. Of the server's own faults only the row
// is told: what went wrong inside is for the log.
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

// translate gives codes to errors of Echo, of the body and of time limits.
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

// write sends a whole body, which may have several parts, or to HEAD its headers alone. Its error is errNotTaken.
func write(c echo.Context, status int, body ...[]byte) error {
	response := c.Response()
	length := 0
	for _, part := range body {
		length += len(part)
	}
	setLength(response.Header(), length)
	response.WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	for _, part := range body {
		if _, err := response.Write(part); err != nil {
			return fmt.Errorf("%w: %w", errNotTaken, err)
		}
	}
	return nil
}
