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

// Sentinels for errors.Is, for the codes that programs check most often. An *Error also matches the sentinels of its code in other
// packages, such as cache.ErrNotFound. For all other codes, use Error.Code or codes.Of.
var (
	ErrNotFound             = &codes.Error{ErrorCode: "not_found", Message: "nothing exists under that name"}
	ErrPrecondition         = &codes.Error{ErrorCode: "precondition_failed", Message: "the entry is not the one that the condition asks for; nothing was changed"}
	ErrUnauthorized         = &codes.Error{ErrorCode: "unauthorized", Message: "the bearer token is missing, wrong, revoked or expired"}
	ErrForbidden            = &codes.Error{ErrorCode: "forbidden", Message: "the token lacks a scope that the operation needs"}
	ErrRateLimited          = &codes.Error{ErrorCode: "rate_limited", Message: "too many requests; wait as long as RetryAfter says"}
	ErrAuthenticationFailed = &codes.Error{ErrorCode: "authentication_failed", Message: "the package was altered, moved or forged"}
	ErrClassTooLow          = &codes.Error{ErrorCode: "class_too_low", Message: "the class of the value is lower than the reader accepts"}
	ErrTimeout              = &codes.Error{ErrorCode: "timeout", Message: "the server did not respond in time; a write may have taken effect"}
	ErrUnreachable          = &codes.Error{ErrorCode: "unreachable", Message: "the server cannot be reached, or the connection failed; a write may have taken effect"}
)

// ErrNotModified is returned by a read with IfNoneMatch if the entry still has that ETag.
var ErrNotModified = errors.New("coffer: the entry was not modified")

// Error is the error of a request, or of one operation of a batch.
type Error struct {
	Status     int            // HTTP status; 0 if there was no response
	Detail     string         // a sentence for people
	RequestID  string         // identifies the request in the server's log; empty if there was no response
	RetryAfter time.Duration  // time after which the same request may succeed; 0 if unknown
	Checks     []FailingCheck // failing checks of Ready, for a token of every tenant with the scope keys:admin

	code  string
	cause error
}

// Error implements error.
func (e *Error) Error() string {
	text := "coffer: " + e.Detail + " (" + e.code
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text + ")"
}

// Code returns the stable code of the error. docs/errors.md lists the codes, and a newer server may return others.
func (e *Error) Code() string { return e.code }

// Unwrap returns the cause, such as an error of the network. It is nil if the server returned the error.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the sentinel of the error's code.
func (e *Error) Is(target error) bool {
	sentinel, ok := target.(*codes.Error)
	return ok && sentinel.ErrorCode == e.code
}

// isTransient reports whether the same request may succeed later.
func (e *Error) isTransient() bool {
	switch e.Status {
	case 0:
		return e.code != "invalid_argument"
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// codeByStatus has the codes for responses of proxies, and of net/http before a handler runs.
var codeByStatus = map[int]string{
	http.StatusRequestEntityTooLarge: "too_large", http.StatusRequestHeaderFieldsTooLarge: "too_large", http.StatusTooManyRequests: "rate_limited",
	http.StatusBadGateway: "unreachable", http.StatusServiceUnavailable: "unreachable", http.StatusGatewayTimeout: "timeout",
}

const maxProblem = 64 << 10

// readError returns the error of a response: a problem document (RFC 9457), the header Coffer-Code for HEAD, or a proxy's response.
func readError(response *http.Response) error {
	var problem struct {
		Code, Detail string
		Checks       []FailingCheck
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil {
		return err
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		_ = json.Unmarshal(text, &problem) // another document has no code
	}
	e := &Error{
		Status: response.StatusCode, Detail: problem.Detail, RequestID: response.Header.Get("X-Request-Id"),
		RetryAfter: parseRetryAfter(response.Header.Get("Retry-After")), Checks: problem.Checks, code: problem.Code,
	}
	for _, code := range []string{response.Header.Get("Coffer-Code"), codeByStatus[e.Status]} {
		if e.code == "" {
			e.code = code
		}
	}
	if e.code == "" {
		return notCoffer(e.Status)
	}
	if e.Detail == "" {
		e.Detail = fmt.Sprintf("the server responded with status %d", e.Status)
	}
	return e
}

// notCoffer returns the error for a response that is not from a Coffer server.
func notCoffer(status int) *Error {
	return &Error{Status: status, Detail: fmt.Sprintf("the response with status %d is not from a Coffer server: check the base URL and proxies", status), code: codes.Internal}
}

// parseRetryAfter parses Retry-After (RFC 9110 section 10.2.3), a number of seconds or a date. It returns 0 for other text.
func parseRetryAfter(text string) time.Duration {
	if wait, ok := parseSeconds(text); ok {
		return wait
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(time.Until(at), 0)
}
