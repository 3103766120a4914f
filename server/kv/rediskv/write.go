package rediskv

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// The scripts compare the value with ARGV[1]. A missing key is false in Lua and equals no string.
var (
	swap = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1`)

	setIf = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`)

	deleteIf = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

	expireIf = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1`)
)

type script struct{ text, hash string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // Redis names scripts so; nothing relies on it
	return script{text, hex.EncodeToString(sum[:])}
}

// once is a command that go-redis does not send a second time. Redirections within a cluster are followed.
type once struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (once) NoRetry() bool { return true }

// Write implements kv.Store: one command, or one pipeline. MSET knows no TTL, and in a cluster its keys, and those
// of one DEL, would have to lie in one slot.
func (s *Store) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := kv.CheckWrites(writes); err != nil || len(writes) == 0 {
		return nil, err
	}
	if s.mayAbandon(ctx) {
		writes = cloned(writes)
	}
	return bounded(ctx, s, "write", func() ([]bool, error) {
		if len(writes) == 1 {
			return s.writeOne(ctx, &writes[0])
		}
		return s.writeMany(ctx, writes, nil)
	})
}

// WriteSized implements kv.SizedWriter: each write has a STRLEN before it in the pipeline.
func (s *Store) WriteSized(ctx context.Context, writes []kv.Write) (done []bool, former []int, err error) {
	if s.closed.Load() {
		return nil, nil, errClosed
	}
	if err := kv.CheckWrites(writes); err != nil || len(writes) == 0 {
		return nil, nil, err
	}
	if s.mayAbandon(ctx) {
		writes = cloned(writes)
	}
	type result struct {
		done   []bool
		former []int
	}
	r, err := bounded(ctx, s, "write", func() (r result, err error) {
		r.done, r.former, err = s.writeSized(ctx, writes)
		return r, err
	})
	return r.done, r.former, err
}

func (s *Store) writeSized(ctx context.Context, writes []kv.Write) ([]bool, []int, error) {
	sizes := make([]*redis.IntCmd, len(writes))
	for i := range writes {
		sizes[i] = redis.NewIntCmd(ctx, "strlen", writes[i].Key)
	}
	done, err := s.writeMany(ctx, writes, sizes)
	former := make([]int, len(writes))
	for i := range sizes {
		former[i] = int(sizes[i].Val()) // 0 after an error, as of a key of another type
	}
	if len(writes) == 1 {
		err = kv.ErrorsOf(err, 1)[0]
	}
	return done, former, err
}

// writeMany makes the writes in one pipeline, each after its command of sizes, if there are any.
func (s *Store) writeMany(ctx context.Context, writes []kv.Write, sizes []*redis.IntCmd) ([]bool, error) {
	commands := make([]redis.Cmder, len(writes))
	all := make([]redis.Cmder, 0, len(writes)+len(sizes))
	for i := range writes {
		if commands[i] = command(ctx, &writes[i], false); sizes != nil {
			all = append(all, sizes[i])
		}
		all = append(all, commands[i])
	}
	s.process(ctx, all)
	if c, ok := s.client.(*redis.Client); ok && sizes != nil && redis.HasErrorPrefix(commands[0].Err(), "READONLY") {
		_ = deleteAbsent(ctx, c) // a replica answered the first command of the pipeline, so its connection is still open
	}
	s.loadScripts(ctx, writes, commands)
	done, errs, failed := make([]bool, len(writes)), make(kv.BatchError, len(writes)), false
	for i := range commands {
		if done[i], errs[i] = outcome(commands[i]); errs[i] != nil {
			failed = true
		}
	}
	if failed {
		return done, errs
	}
	return done, nil
}

func (s *Store) writeOne(ctx context.Context, w *kv.Write) ([]bool, error) {
	c := command(ctx, w, false)
	if w.Op == kv.Put && w.If == kv.Always {
		s.share(ctx, c, len(w.Value))
	} else if err := s.client.Process(ctx, c); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		c = command(ctx, w, true)
		_ = s.client.Process(ctx, c)
	}
	done, err := outcome(c)
	return []bool{done}, err
}

// loadScripts sends the commands again, with the script's text, that a server refused because it does not know the
// script.
func (s *Store) loadScripts(ctx context.Context, writes []kv.Write, commands []redis.Cmder) {
	var again []redis.Cmder
	for i, c := range commands {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			commands[i] = command(ctx, &writes[i], true)
			again = append(again, commands[i])
		}
	}
	if len(again) > 0 {
		s.process(ctx, again)
	}
}

// command is what makes a write. A script is named by its hash, or has its text if whole is set.
func command(ctx context.Context, w *kv.Write, whole bool) redis.Cmder {
	millis := wholeMillis(w.TTL).Milliseconds()
	switch {
	case w.Op == kv.Put && w.If == kv.Always && millis == 0:
		return redis.NewStatusCmd(ctx, "set", w.Key, w.Value)
	case w.Op == kv.Put && w.If == kv.Always:
		return redis.NewStatusCmd(ctx, "set", w.Key, w.Value, "px", millis)
	case w.Op == kv.Put && w.If == kv.Absent && millis == 0:
		return once{redis.NewCmd(ctx, "set", w.Key, w.Value, "nx")}
	case w.Op == kv.Put && w.If == kv.Absent:
		return once{redis.NewCmd(ctx, "set", w.Key, w.Value, "px", millis, "nx")}
	case w.Op == kv.Put && w.KeepTTL:
		return evaluate(ctx, swap, whole, w.Key, w.Old, w.Value)
	case w.Op == kv.Put:
		return evaluate(ctx, setIf, whole, w.Key, w.Old, w.Value, millis)
	case w.Op == kv.Remove && w.If == kv.Always:
		return once{redis.NewCmd(ctx, "del", w.Key)}
	case w.Op == kv.Remove:
		return evaluate(ctx, deleteIf, whole, w.Key, w.Old)
	}
	return evaluate(ctx, expireIf, whole, w.Key, w.Old, millis)
}

func evaluate(ctx context.Context, s script, whole bool, key string, args ...any) redis.Cmder {
	words := append(make([]any, 0, 4+len(args)), "evalsha", s.hash, 1, key)
	if whole {
		words[0], words[1] = "eval", s.text
	}
	return once{redis.NewCmd(ctx, append(words, args...)...)}
}

// outcome reads the answer to a command: OK, a number, or nil.
func outcome(c redis.Cmder) (bool, error) {
	err := c.Err()
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil:
		return false, mapError("write", err)
	}
	if reply, ok := c.(once); ok {
		n, isNumber := reply.Val().(int64)
		return !isNumber || n > 0, nil
	}
	return true, nil
}
