package keystore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/internal/durable"
)

const (
	readBacks     = 3                      // attempts to read back after an error
	readBackPause = 100 * time.Millisecond // before the second attempt; doubles each time
)

// Replace is like Swap, for a change that must not stop halfway: once it has begun, it ignores the cancellation of
// ctx, up to durable.ChangeTimeout. After an error of the store, which may have replaced the document and lost the
// reply, Replace reads the document back. A document that equals the new content counts as replaced, even if another
// process wrote it. A document that equals old was not replaced. If the document has any other content, or cannot be
// read, the error wraps durable.ErrUnknownOutcome. No other function reads back.
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

// readBack reads a document after a change that may have used up its time.
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
