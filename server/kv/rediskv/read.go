package rediskv

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Read implements kv.Store. Values within the limit take one round trip; an empty answer, or one that exceeds
// the limit, takes another one. Batches are pipelines of single-key commands, because in a cluster the keys of an
// MGET would have to lie in one slot.
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
	return bounded(ctx, s, "read", func() ([]kv.ReadResult, error) { return s.read(ctx, keys, limit) })
}

func (s *Store) read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	replies, commands := make([]*redis.StringCmd, len(keys)), make([]redis.Cmder, len(keys))
	for i, key := range keys {
		if limit >= kv.MaxValueSize {
			replies[i] = redis.NewStringCmd(ctx, "get", key)
		} else {
			replies[i] = redis.NewStringCmd(ctx, "getrange", key, 0, limit) // one byte more than the limit
		}
		commands[i] = replies[i]
	}
	if len(keys) == 1 && limit <= maxShared {
		s.share(ctx, commands[0], 0)
	} else {
		s.process(ctx, commands)
	}
	found := make([]kv.ReadResult, len(keys))
	if limit < kv.MaxValueSize {
		return found, s.readRanges(ctx, keys, limit, replies, found)
	}
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return nil, mapError("read", err)
		case value == nil:
			value = []byte{}
		}
		found[i] = kv.ReadResult{Value: value, Size: len(value)}
	}
	return found, nil
}

// process sends one command as it is and several in a pipeline. The commands have their errors.
func (s *Store) process(ctx context.Context, commands []redis.Cmder) {
	if len(commands) == 1 {
		_ = s.client.Process(ctx, commands[0])
		return
	}
	s.pipeline(ctx, commands)
}

var errPipeline = errors.New("the pipeline was not sent, or its replies were not read")

// pipeline sends commands together. Each has its error afterwards: go-redis sets those of replies and connections, and not that
// of a hook, or of a panic.
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

// begin returns the first bytes of a value up to the byte after a limit, and no answer for a missing key. GETRANGE
// alone answers an empty string both for an empty value and for a missing key, and EXISTS afterwards could be about
// a value that was written in between.
const begin = `
local value = redis.call('GETRANGE', KEYS[1], 0, ARGV[1])
if value == '' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return value`

// readRanges fills found from the answers of GETRANGE. It asks again whether an empty value exists, and how long a
// longer one is.
func (s *Store) readRanges(ctx context.Context, keys []string, limit int, replies []*redis.StringCmd, found []kv.ReadResult) error {
	var which []int
	var asked []redis.Cmder
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case err != nil:
			return mapError("read", err)
		case len(value) == 0:
			which, asked = append(which, i), append(asked, redis.NewCmd(ctx, "eval", begin, 1, keys[i], limit))
		case len(value) > limit:
			found[i].Prefix = value[:limit:limit]
			which, asked = append(which, i), append(asked, redis.NewIntCmd(ctx, "strlen", keys[i]))
		default:
			found[i] = kv.ReadResult{Value: value, Size: len(value)}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	s.process(ctx, asked)
	for j, i := range which {
		var err error
		switch reply := asked[j].(type) {
		case *redis.IntCmd:
			var size int64
			if size, err = reply.Result(); size == 0 {
				found[i].Prefix = nil
			}
			found[i].Size = int(size)
		case *redis.Cmd:
			var text string
			if text, err = reply.Text(); errors.Is(err, redis.Nil) {
				err = nil
				continue
			}
			if found[i].Size = len(text); len(text) <= limit {
				found[i].Value = []byte(text)
			} else {
				found[i].Prefix = []byte(text)[:limit]
				found[i].Size, err = s.length(ctx, keys[i], len(text))
			}
		}
		if err != nil {
			return mapError("read", err)
		}
	}
	return nil
}

// length returns the size of a value of which the first n bytes are known.
func (s *Store) length(ctx context.Context, key string, n int) (int, error) {
	size, err := s.client.StrLen(ctx, key).Result()
	return max(int(size), n), err
}
