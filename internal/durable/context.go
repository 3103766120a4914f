package durable

import (
	"context"
	"errors"
	"time"
)

// ErrUnknown reports that a change failed and may have taken effect all the same: a reply was lost, and reading back
// did not tell.
var ErrUnknownOutcome = errors.New("it is not known whether the change took effect")

// ChangeLimit bounds a change that goes on after its caller has left.
const ChangeTimeout = 30 * time.Second

// Detach returns a context for a change that must not stop half-way: it keeps the values of ctx, ignores its
// cancellation and deadline, and ends after ChangeLimit. The caller calls cancel.
func Detach(ctx context.Context) (detached context.Context, cancel context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), ChangeTimeout)
}
