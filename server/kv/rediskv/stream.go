package rediskv

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// AppendStream adds entries of one field each to a stream, in one call, and lets Redis trim it to about as
// many as most (MAXLEN ~ of XADD). After an error some of them may be there.
func (s *Store) AppendStream(ctx context.Context, stream, field string, values [][]byte, most int64) error {
	if s.closed.Load() {
		return errClosed
	}
	pipe := s.client.Pipeline()
	for _, value := range values {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, MaxLen: most, Approx: true, Values: []any{field, value}})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return mapError("append to a stream", err)
	}
	return nil
}
