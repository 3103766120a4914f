// Package limit keeps one tenant from starving the others, and slows down whoever guesses tokens.
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

// ErrRateLimited is what every refusal of this package wraps.
var ErrRateLimited = &codes.Error{Of: "rate_limited", Text: "too many requests"}

// Refusal says how long to wait.
type Refusal struct{ Wait time.Duration }

// Error says the wait in whole seconds.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: retry after %ds", ErrRateLimited, r.seconds())
}

// Unwrap makes a refusal ErrRateLimited.
func (r *Refusal) Unwrap() error { return ErrRateLimited }

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
