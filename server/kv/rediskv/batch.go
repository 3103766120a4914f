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

// GetManyWithin implements kv.Store, as GetWithin does: one pipeline, and another one for what is empty or longer.
func (s *Store) GetManyWithin(ctx context.Context, keys []string, limit int) ([]kv.Sized, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if len(keys) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		replies[i] = redis.NewStringCmd(ctx, "getrange", key, 0, limit)
		_ = pipe.Process(ctx, replies[i])
	}
	_, _ = pipe.Exec(ctx)
	values := make([]kv.Sized, len(keys))
	lengths, begins := make(map[int]*redis.IntCmd), make(map[int]*redis.Cmd)
	pipe = s.client.Pipeline()
	for i, reply := range replies {
		value, err := reply.Bytes()
		switch {
		case err != nil:
			return nil, failure("get many", err)
		case len(value) == 0:
			begins[i] = pipe.Eval(ctx, begin, []string{keys[i]}, limit)
		case len(value) > limit:
			lengths[i], values[i].Begin = pipe.StrLen(ctx, keys[i]), value[:limit]
		default:
			values[i] = kv.Sized{Value: value, Size: len(value)}
		}
	}
	if pipe.Len() == 0 {
		return values, nil
	}
	_, _ = pipe.Exec(ctx) // a missing key is an error there
	for i, reply := range begins {
		value, err := beginning(reply)
		if err != nil {
			return nil, failure("get many", err)
		}
		if values[i].Size = len(value); len(value) <= limit {
			values[i].Value = value
		} else {
			values[i].Begin = value[:limit]
		}
	}
	for i, reply := range lengths {
		size, err := reply.Result()
		if err != nil {
			return nil, failure("get many", err)
		}
		if values[i].Size = int(size); size == 0 {
			values[i].Begin = nil
		}
	}
	return values, nil
}

// CompareAndSwapMany implements kv.Store.
func (s *Store) CompareAndSwapMany(ctx context.Context, swaps []kv.Swap) ([]bool, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := kv.CheckSwaps(swaps); err != nil || len(swaps) == 0 {
		return nil, err
	}
	swapped := make([]bool, len(swaps))
	unknown, err := s.swapMany(ctx, swaps, nil, swapped, swap.EvalSha)
	if len(unknown) > 0 && err == nil {
		_, err = s.swapMany(ctx, swaps, unknown, swapped, swap.Eval)
	}
	return swapped, err
}

// swapMany makes the swaps of some indices, all where that is nil, and gives those of servers that do not
// know the script.
func (s *Store) swapMany(
	ctx context.Context, swaps []kv.Swap, which []int, swapped []bool,
	run func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd,
) (unknown []int, err error) {
	if which == nil {
		which = make([]int, len(swaps))
		for i := range which {
			which[i] = i
		}
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.Cmd, len(which))
	for at, i := range which {
		replies[at] = run(ctx, pipe, []string{swaps[i].Key}, swaps[i].Old, swaps[i].Value)
	}
	_, _ = pipe.Exec(ctx) // each reply is looked at below
	for at, i := range which {
		n, e := replies[at].Int()
		switch {
		case redis.HasErrorPrefix(e, "NOSCRIPT"):
			unknown = append(unknown, i)
		case e != nil:
			err = failure("compare and swap many", e)
		}
		swapped[i] = n == 1
	}
	return unknown, err
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
	commands, err := pipe.Exec(ctx)
	return outcome("set many", commands, err)
}

// outcome tells of each command of a pipeline what became of it, where any failed.
func outcome(op string, commands []redis.Cmder, err error) error {
	if err == nil {
		return nil
	}
	errs, failed := make(kv.BatchError, len(commands)), false
	for i, command := range commands {
		if err := command.Err(); err != nil {
			errs[i], failed = failure(op, err), true
		}
	}
	if !failed {
		return failure(op, err)
	}
	return errs
}

// DeleteMany implements kv.Store.
func (s *Store) DeleteMany(ctx context.Context, keys []string) ([]bool, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if len(keys) == 0 {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	replies := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		replies[i] = pipe.Del(ctx, key)
	}
	commands, err := pipe.Exec(ctx)
	existed := make([]bool, len(keys))
	for i, reply := range replies {
		existed[i] = reply.Val() > 0
	}
	return existed, outcome("delete many", commands, err)
}
