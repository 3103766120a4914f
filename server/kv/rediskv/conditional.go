package rediskv

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// The scripts take the expected value and a time to live in milliseconds, 0 for none.
var (
	setIf = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end
return 1`)
	deleteIf = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
	expireIf = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1`)
)

// SetIf implements kv.Store.
func (s *Store) SetIf(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if s.closed.Load() {
		return false, errClosed
	}
	if err := kv.CheckWrite(key, value, ttl); err != nil {
		return false, err
	}
	if old != nil {
		return s.conditional(ctx, setIf, "set if equal", key, old, wholeMillis(ttl).Milliseconds(), value)
	}
	written, err := s.client.SetNX(ctx, key, value, wholeMillis(ttl)).Result()
	if err != nil {
		return false, failure("set if absent", err)
	}
	return written, nil
}

// DeleteIf implements kv.Store.
func (s *Store) DeleteIf(ctx context.Context, key string, old []byte) (bool, error) {
	return s.conditional(ctx, deleteIf, "delete if equal", key, old)
}

// ExpireIf implements kv.Store.
func (s *Store) ExpireIf(ctx context.Context, key string, old []byte, ttl time.Duration) (bool, error) {
	if err := kv.CheckWrite(key, nil, ttl); err != nil {
		return false, err
	}
	return s.conditional(ctx, expireIf, "expire if equal", key, old, wholeMillis(ttl).Milliseconds())
}

func (s *Store) conditional(ctx context.Context, script *redis.Script, op, key string, args ...any) (bool, error) {
	if s.closed.Load() {
		return false, errClosed
	}
	n, err := script.Run(ctx, s.client, []string{key}, args...).Int()
	if err != nil {
		return false, failure(op, err)
	}
	return n == 1, nil
}
