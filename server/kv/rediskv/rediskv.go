// Package rediskv is the kv.Store over Redis: one server, Sentinel or Cluster, by go-redis.
//
// Each call is one command in one round trip, each batch one pipeline, and values go through uncopied. Redis 6
// or later is needed (KEEPTTL). Keys are used as they are given; a caller who shares a Redis with
// other programs gives them a prefix.
//
// A connection lost while Redis answers is retried by the client. A retried Delete, CompareAndSwap, SetIf or
// DeleteIf whose first attempt did arrive reports false: read the key again before concluding anything from
// that.
package rediskv

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Store is a kv.Store over a go-redis client.
type Store struct {
	client redis.UniversalClient
	owned  bool
	closed atomic.Bool
	parts  atomic.Pointer[map[string]redis.Cmdable] // the masters by the name of their part, as of the last Topology
}

var _ kv.Store = (*Store)(nil)

// New wraps the caller's client, which Close leaves open. Its time-outs and retries are the caller's;
// deadlines of contexts are heeded only where its ContextTimeoutEnabled is set.
func New(client redis.UniversalClient) *Store {
	return &Store{client: client}
}

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if s.closed.Load() {
		return nil, false, errClosed
	}
	value, err := s.client.Get(ctx, key).Bytes()
	if err != nil {
		if errors.Is(err, redis.Nil) {
			return nil, false, nil
		}
		return nil, false, failure("get", err)
	}
	return value, true, nil
}

// begin is what a value begins with, up to the byte at a limit; of a missing key it is nothing, and no
// answer. GETRANGE alone answers both an empty value and none with nothing, and EXISTS afterwards could be of
// a value that came in between.
const begin = `
local value = redis.call('GETRANGE', KEYS[1], 0, ARGV[1])
if value == '' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return value`

// beginning reads what the script answers: nil where there is no key.
func beginning(reply *redis.Cmd) ([]byte, error) {
	text, err := reply.Text()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return []byte(text), err
}

// GetWithin implements kv.Store. A value within the limit takes one round trip, as Get does; only of an empty
// answer it must be asked whether there is a key at all, and of a long one how long it is.
func (s *Store) GetWithin(ctx context.Context, key string, limit int) ([]byte, int, bool, error) {
	if s.closed.Load() {
		return nil, 0, false, errClosed
	}
	command := redis.NewStringCmd(ctx, "getrange", key, 0, limit) // unlike GetRange's, its bytes can be had uncopied
	_ = s.client.Process(ctx, command)
	value, err := command.Bytes()
	if err == nil && len(value) == 0 {
		value, err = beginning(s.client.Eval(ctx, begin, []string{key}, limit))
	}
	switch {
	case err != nil:
		return nil, 0, false, failure("get", err)
	case value == nil:
		return nil, 0, false, nil
	case len(value) <= limit:
		return value, len(value), true, nil
	}
	size, err := s.client.StrLen(ctx, key).Result()
	if err != nil {
		return nil, 0, false, failure("get", err)
	}
	return nil, int(size), size > 0, nil
}

// Set implements kv.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if s.closed.Load() {
		return errClosed
	}
	if err := kv.CheckWrite(key, value, ttl); err != nil {
		return err
	}
	if err := s.client.Set(ctx, key, value, wholeMillis(ttl)).Err(); err != nil {
		return failure("set", err)
	}
	return nil
}

// Delete implements kv.Store.
func (s *Store) Delete(ctx context.Context, key string) (bool, error) {
	if s.closed.Load() {
		return false, errClosed
	}
	n, err := s.client.Del(ctx, key).Result()
	if err != nil {
		return false, failure("delete", err)
	}
	return n > 0, nil
}

// Exists implements kv.Store.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	if s.closed.Load() {
		return false, errClosed
	}
	n, err := s.client.Exists(ctx, key).Result()
	if err != nil {
		return false, failure("exists", err)
	}
	return n > 0, nil
}

// What PTTL answers, as go-redis gives it.
const (
	pttlMissing   = time.Duration(-2)
	pttlUnlimited = time.Duration(-1)
)

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	if s.closed.Load() {
		return 0, false, errClosed
	}
	left, err := s.client.PTTL(ctx, key).Result()
	switch {
	case err != nil:
		return 0, false, failure("ttl", err)
	case left == pttlMissing:
		return 0, false, nil
	case left == pttlUnlimited:
		return 0, true, nil
	}
	// In its last millisecond Redis says 0, which would read as "no limit".
	return max(left, time.Millisecond), true, nil
}

// swap replaces a value in one step. A missing key is false in Lua and equals no string.
var swap = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1`)

// CompareAndSwap implements kv.Store.
func (s *Store) CompareAndSwap(ctx context.Context, key string, old, value []byte) (bool, error) {
	if s.closed.Load() {
		return false, errClosed
	}
	if err := kv.CheckWrite(key, value, 0); err != nil {
		return false, err
	}
	n, err := swap.Run(ctx, s.client, []string{key}, old, value).Int()
	if err != nil {
		return false, failure("compare and swap", err)
	}
	return n == 1, nil
}

// Ping implements kv.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	if err := s.client.Ping(ctx).Err(); err != nil {
		return failure("ping", err)
	}
	return nil
}

// Close ends the client if Open made it; a client given to New stays open.
func (s *Store) Close() error {
	if s.closed.Swap(true) || !s.owned {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return failure("close", err)
	}
	return nil
}

// wholeMillis rounds up: go-redis would log a shorter TTL and cut off a fraction.
func wholeMillis(ttl time.Duration) time.Duration {
	rest := ttl % time.Millisecond
	if rest == 0 || ttl > math.MaxInt64-time.Millisecond {
		return ttl
	}
	return ttl + time.Millisecond - rest
}
