// Package limit keeps one tenant, and clients without a token, from starving the others, and slows down clients that guess tokens.
//
// It guarantees bounded memory whatever comes, and that a refusal says when to come back. It counts within
// one process: n servers let through n times as much.
package limit

import (
	"errors"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

var (
	// ErrRateLimited matches every Refusal, and is the cause of those that have no other.
	ErrRateLimited = &codes.Error{Of: "rate_limited", Text: "too many requests"}
	// ErrWrongTokens is the cause of a refusal by Failures.
	ErrWrongTokens = &codes.Error{Of: "rate_limited", Text: "the bearer token is wrong, and too many wrong tokens came from this address"}
)

// Refusal has the cause of a refusal and how long to wait.
type Refusal struct {
	Wait  time.Duration
	Cause *codes.Error // nil means ErrRateLimited
}

// Error returns the cause, and the wait in whole seconds.
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

// seconds rounds up: who comes a moment too early is refused again.
func (r *Refusal) seconds() int { return max(1, int((r.Wait+time.Second-1)/time.Second)) }

// RetryAfter returns the value of the header Retry-After in seconds (RFC 9110 section 10.2.3), at least 1, if
// err is a refusal.
func RetryAfter(err error) (seconds int, ok bool) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return 0, false
	}
	return refusal.seconds(), true
}
