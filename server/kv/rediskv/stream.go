package rediskv

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// AppendStream adds one entry to a stream for each value, with a single field, in one round trip. Redis trims the
// stream to about most entries (XADD with MAXLEN ~). After an error, some of the entries may have been added.
func (s *Store) AppendStream(ctx context.Context, stream, field string, values [][]byte, maxLen int64) error {
	if s.closed.Load() {
		return errClosed
	}
	pipe := s.client.Pipeline()
	for _, value := range values {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, MaxLen: maxLen, Approx: true, Values: []any{field, value}})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return MapError("append to a stream", err)
	}
	return nil
}
