package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Sentinels for errors.Is, of the codes that programs check most. An *Error matches the sentinels of its code
// in other packages too, such as cache.ErrNotFound. For other codes look at Error.Code.
var (
	ErrNotFound             = &codes.Error{Of: "not_found", Text: "there is nothing under that name"}
	ErrPrecondition         = &codes.Error{Of: "precondition_failed", Text: "the entry is not the one that the condition asks for; nothing was changed"}
	ErrUnauthorized         = &codes.Error{Of: "unauthorized", Text: "the bearer token is missing, wrong, revoked or expired"}
	ErrForbidden            = &codes.Error{Of: "forbidden", Text: "the token lacks a scope that the operation needs"}
	ErrRateLimited          = &codes.Error{Of: "rate_limited", Text: "too many requests; wait as long as RetryAfter says"}
	ErrAuthenticationFailed = &codes.Error{Of: "authentication_failed", Text: "the package was altered, moved or forged"}
	ErrClassTooLow          = &codes.Error{Of: "class_too_low", Text: "the value's class is lower than the reader demands"}
	ErrTimeout              = &codes.Error{Of: "timeout", Text: "no answer came in time; a write may have taken effect"}
	ErrUnreachable          = &codes.Error{Of: "unreachable", Text: "the server cannot be reached, or the connection failed; a write may have taken effect"}
)

// ErrNotModified is returned by a read with IfNoneMatch when the entry still has that ETag.
var ErrNotModified = errors.New("coffer: the entry is the one that the caller has")

// Error is a request that failed, or one operation of a batch that did.
type Error struct {
	Status     int            // of the answer; 0 if none came
	Detail     string         // a sentence for people
	RequestID  string         // names the request in the server's log; empty if no server answered
	RetryAfter time.Duration  // after which the same request may succeed; 0 if the server did not say
	Checks     []FailingCheck // of Ready: what fails, for a token of every tenant with the scope keys:admin

	code  string
	cause error
}

func (e *Error) Error() string {
	text := "coffer: " + e.Detail + " (" + e.code
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text + ")"
}

// Code returns the stable code, one of docs/errors.md or of a newer server's.
func (e *Error) Code() string { return e.code }

// Unwrap returns why no answer came: an error of the network.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the sentinel of the error's code.
func (e *Error) Is(target error) bool {
	sentinel, ok := target.(*codes.Error)
	return ok && sentinel.Of == e.code
}

// transient reports whether the same request may succeed later.
func (e *Error) transient() bool {
	switch e.Status {
	case 0:
		return e.code != "invalid_argument"
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// byStatus has the codes of what proxies answer, and net/http before a handler runs.
var byStatus = map[int]string{
	http.StatusRequestEntityTooLarge: "too_large", http.StatusRequestHeaderFieldsTooLarge: "too_large", http.StatusTooManyRequests: "rate_limited",
	http.StatusBadGateway: "unreachable", http.StatusServiceUnavailable: "unreachable", http.StatusGatewayTimeout: "timeout",
}

const maxProblem = 64 << 10

// failureOf reads a failed answer: a problem document (RFC 9457), to HEAD a header, or whatever a proxy says.
func failureOf(response *http.Response) error {
	var problem struct {
		Code, Detail string
		Checks       []FailingCheck
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil {
		return err
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		_ = json.Unmarshal(text, &problem) // what is none has no code
	}
	e := &Error{
		Status: response.StatusCode, Detail: problem.Detail, RequestID: response.Header.Get("X-Request-Id"),
		RetryAfter: retryAfter(response.Header.Get("Retry-After")), Checks: problem.Checks, code: problem.Code,
	}
	for _, code := range []string{response.Header.Get("Coffer-Code"), byStatus[e.Status]} {
		if e.code == "" {
			e.code = code
		}
	}
	if e.code == "" {
		return notCoffer(e.Status)
	}
	if e.Detail == "" {
		e.Detail = fmt.Sprintf("the server answered with status %d", e.Status)
	}
	return e
}

// notCoffer is the error where something else than a Coffer server answered.
func notCoffer(status int) *Error {
	return &Error{Status: status, Detail: fmt.Sprintf("the server answered with status %d, and not as a Coffer server does", status), code: codes.Internal}
}

// retryAfter reads the header (RFC 9110 section 10.2.3), in seconds or as a date; 0 for none.
func retryAfter(text string) time.Duration {
	if wait, ok := seconds(text); ok {
		return wait
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(time.Until(at), 0)
}
