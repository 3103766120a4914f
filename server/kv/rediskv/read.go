package rediskv

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Read implements kv.Store. It takes one round trip for values within the limit, and another one for empty replies and
// longer values. It reads several keys by a pipeline of single-key commands, because all keys of an MGET would have to
// be in the same slot of a cluster.
func (s *Store) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if s.mayAbandon(ctx) {
		keys = slices.Clone(keys)
	}
	return callWithContext(ctx, s, "read", func() ([]kv.ReadResult, error) { return s.read(ctx, keys, limit) })
}

func (s *Store) read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	replies, commands := make([]*redis.StringCmd, len(keys)), make([]redis.Cmder, len(keys))
	for i, key := range keys {
		if limit >= kv.MaxValueSize {
			replies[i] = redis.NewStringCmd(ctx, "get", key)
		} else {
			replies[i] = redis.NewStringCmd(ctx, "getrange", key, 0, limit) // one byte more than the limit, to detect longer values
		}
		commands[i] = replies[i]
	}
	if len(keys) == 1 && limit <= maxSharedRead {
		s.sendShared(ctx, commands[0], 0)
	} else {
		s.process(ctx, commands)
	}
	results := make([]kv.ReadResult, len(keys))
	if limit < kv.MaxValueSize {
		return results, s.readRanges(ctx, keys, limit, replies, results)
	}
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return nil, MapError("read", err)
		case value == nil:
			value = []byte{}
		}
		results[i] = kv.ReadResult{Value: value, Size: len(value)}
	}
	return results, nil
}

// process sends one command directly and several in a pipeline. Their errors are in the commands.
func (s *Store) process(ctx context.Context, commands []redis.Cmder) {
	if len(commands) == 1 {
		_ = s.client.Process(ctx, commands[0])
		return
	}
	s.pipeline(ctx, commands)
}

var errPipeline = errors.New("the pipeline was not sent, or its replies were not read")

// pipeline sends commands together. It sets the error of each command that failed. go-redis sets errors of replies and
// connections, but not those of a hook or a panic.
func (s *Store) pipeline(ctx context.Context, commands []redis.Cmder) {
	err := errPipeline
	defer func() {
		if err == nil || slices.ContainsFunc(commands, func(cmd redis.Cmder) bool { return errors.Is(err, cmd.Err()) }) {
			return
		}
		for _, cmd := range commands {
			if cmd.Err() == nil {
				cmd.SetErr(err)
			}
		}
	}()
	pipe := s.client.Pipeline()
	for _, cmd := range commands {
		_ = pipe.Process(ctx, cmd)
	}
	_, err = pipe.Exec(ctx)
}

// readPrefixScript returns the first ARGV[1]+1 bytes of a value, and nil for a missing key. GETRANGE alone replies with
// an empty string both for an empty value and for a missing key, and a later EXISTS could see a value that was written
// in between.
const readPrefixScript = `
local value = redis.call('GETRANGE', KEYS[1], 0, ARGV[1])
if value == '' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return value`

// readRanges fills found from the replies to GETRANGE. It asks again whether an empty value exists, and for the length
// of a longer one.
func (s *Store) readRanges(ctx context.Context, keys []string, limit int, replies []*redis.StringCmd, results []kv.ReadResult) error {
	var pending []int
	var followUps []redis.Cmder
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case err != nil:
			return MapError("read", err)
		case len(value) == 0:
			pending, followUps = append(pending, i), append(followUps, redis.NewCmd(ctx, "eval", readPrefixScript, 1, keys[i], limit))
		case len(value) > limit:
			results[i].Prefix = value[:limit:limit]
			pending, followUps = append(pending, i), append(followUps, redis.NewIntCmd(ctx, "strlen", keys[i]))
		default:
			results[i] = kv.ReadResult{Value: value, Size: len(value)}
		}
	}
	if len(followUps) == 0 {
		return nil
	}
	s.process(ctx, followUps)
	for j, i := range pending {
		var err error
		switch reply := followUps[j].(type) {
		case *redis.IntCmd:
			var size int64
			if size, err = reply.Result(); size == 0 {
				results[i].Prefix = nil
			}
			results[i].Size = int(size)
		case *redis.Cmd:
			var text string
			if text, err = reply.Text(); errors.Is(err, redis.Nil) {
				err = nil
				continue
			}
			if results[i].Size = len(text); len(text) <= limit {
				results[i].Value = []byte(text)
			} else {
				results[i].Prefix = []byte(text)[:limit]
				results[i].Size, err = s.valueSize(ctx, keys[i], len(text))
			}
		}
		if err != nil {
			return MapError("read", err)
		}
	}
	return nil
}

// valueSize returns the size of a value, of which the first n bytes are known.
func (s *Store) valueSize(ctx context.Context, key string, n int) (int, error) {
	size, err := s.client.StrLen(ctx, key).Result()
	return max(int(size), n), err
}
