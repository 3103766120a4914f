package keystore

import (
	"bytes"
	"context"

	"github.com/coffer-storage/coffer/server/durable"
)

// Replace is Swap for a change that must not stop half-way. Once it has begun, it ignores the cancellation of ctx,
// until durable.ChangeLimit. After an error it reads back: the store may have replaced the document and lost the
// reply. A document that equals the new one counts as replaced, even if another process wrote it.
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
	reading, stop := durable.Detach(ctx) // the change may have used up its time
	defer stop()
	now, unread := s.Get(reading, kind, name)
	if unread == nil && (now == nil) == (document == nil) && bytes.Equal(now, document) {
		return true, nil
	}
	return false, err
}
