package keystore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

const (
	readBacks     = 3                      // reads after an error, while they fail
	readBackPause = 100 * time.Millisecond // before the second; it doubles
)

// Replace is Swap for a change that must not stop half-way. Once it has begun, it ignores the cancellation of ctx,
// until durable.ChangeTimeout. It is the one place that reads back after an error of a store, which may have replaced the
// document and lost the reply: a document that equals the new one counts as replaced, even if another process wrote
// it, and one that equals the old one was not replaced. If it is a third one, or cannot be read, the error wraps
// durable.ErrUnknownOutcome.
func Replace(ctx context.Context, s Store, kind Kind, name string, old, document []byte, due int64) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	changing, cancel := durable.Detach(ctx)
	defer cancel()
	replaced, err := s.Swap(changing, kind, name, old, document, due)
	if err == nil {
		return replaced, nil
	}
	now, unread := readBack(ctx, s, kind, name)
	is := func(d []byte) bool { return unread == nil && (now == nil) == (d == nil) && bytes.Equal(now, d) }
	switch {
	case is(document):
		return true, nil
	case is(old):
		return false, err
	}
	return false, fmt.Errorf("%w: %w", durable.ErrUnknownOutcome, err)
}

// readBack reads a document after a change of it, which may have used up its time.
func readBack(ctx context.Context, s Store, kind Kind, name string) (now []byte, err error) {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	pause := readBackPause
	for try := 1; ; try++ {
		if now, err = s.Get(ctx, kind, name); err == nil || try == readBacks {
			return now, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		pause *= 2
	}
}
