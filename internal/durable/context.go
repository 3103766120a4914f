package durable

import (
	"context"
	"errors"
	"time"
)

// ErrUnknownOutcome reports that a change failed but may have taken effect nevertheless: a reply was lost, and reading
// back did not determine the outcome.
var ErrUnknownOutcome = errors.New("it is not known whether the change took effect")

// ChangeTimeout is how long a change may continue after its caller has left.
const ChangeTimeout = 30 * time.Second

// Detach returns a context for a change that must not stop half-way. It keeps the values of ctx, ignores its
// cancellation and deadline, and ends after ChangeTimeout. The caller must call cancel.
func Detach(ctx context.Context) (detached context.Context, cancel context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), ChangeTimeout)
}
