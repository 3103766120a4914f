package rediskv

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Batches are pipelines of single-key commands, because in a cluster the keys of an MGET, an MSET or a
// DEL would have to lie in one slot, and MSET knows no TTL.

// GetMany implements kv.Store.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if len(keys) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		replies[i] = pipe.Get(ctx, key)
	}
	// Exec returns the first error of a command, a missing key included: each is looked at below.
	_, _ = pipe.Exec(ctx)
	values := make([][]byte, len(keys))
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return nil, failure("get many", err)
		case value == nil:
			value = []byte{}
		}
		values[i] = value
	}
	return values, nil
}

// SetMany implements kv.Store.
func (s *Store) SetMany(ctx context.Context, entries []kv.Entry) error {
	if s.closed.Load() {
		return errClosed
	}
	if err := kv.CheckWrites(entries); err != nil || len(entries) == 0 {
		return err
	}
	pipe := s.client.Pipeline()
	for i := range entries {
		e := &entries[i]
		pipe.Set(ctx, e.Key, e.Value, wholeMillis(e.TTL))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return failure("set many", err)
	}
	return nil
}

// DeleteMany implements kv.Store.
func (s *Store) DeleteMany(ctx context.Context, keys []string) (int, error) {
	if s.closed.Load() {
		return 0, errClosed
	}
	if len(keys) == 0 {
		return 0, nil
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		replies[i] = pipe.Del(ctx, key)
	}
	_, err := pipe.Exec(ctx)
	deleted := 0
	for _, reply := range replies {
		deleted += int(reply.Val())
	}
	if err != nil {
		return deleted, failure("delete many", err)
	}
	return deleted, nil
}
