// Package limit limits the requests, memory and connections of clients, so that a tenant, or clients without a valid
// token, cannot starve others. It also slows down clients that guess tokens.
//
// The limits themselves use bounded memory, and each refusal contains the time after which a client should try again.
// Each process counts on its own: n servers together allow n times as much.
package limit

import (
	"errors"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

var (
	// ErrRateLimited matches every Refusal and is the default cause.
	ErrRateLimited = &codes.Error{ErrorCode: "rate_limited", Message: "too many requests"}
	// errWrongTokens is the cause of a refusal by Failures.
	errWrongTokens = &codes.Error{ErrorCode: "rate_limited", Message: "the bearer token is wrong, and too many wrong tokens came from this address"}
)

// Refusal is the error of a refused request.
type Refusal struct {
	Wait  time.Duration
	Cause *codes.Error // nil means ErrRateLimited
}

// Error returns the cause and the wait in seconds.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: retry after %ds", r.Unwrap(), r.seconds())
}

// Is reports whether target is ErrRateLimited.
func (r *Refusal) Is(target error) bool { return target == ErrRateLimited }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error {
	if r.Cause == nil {
		return ErrRateLimited
	}
	return r.Cause
}

// seconds returns the wait, rounded up: a client that comes too early is refused again.
func (r *Refusal) seconds() int { return max(1, int((r.Wait+time.Second-1)/time.Second)) }

// RetryAfter returns the value of the header Retry-After in seconds (RFC 9110 section 10.2.3), at least 1. ok is false
// if err is not a Refusal.
func RetryAfter(err error) (seconds int, ok bool) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return 0, false
	}
	return refusal.seconds(), true
}
