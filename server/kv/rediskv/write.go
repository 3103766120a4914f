package rediskv

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// The scripts compare the value with ARGV[1]. GET returns false for a missing key, which equals no string.
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
	sum := sha1.Sum([]byte(text)) // Redis identifies scripts by SHA-1; security does not depend on it
	return script{text, hex.EncodeToString(sum[:])}
}

// noRetryCmd is a command that go-redis does not retry. It still follows redirections within a cluster.
type noRetryCmd struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (noRetryCmd) NoRetry() bool { return true }

// Write implements kv.Store with one command or one pipeline. MSET does not support TTLs, and all keys of an MSET or
// DEL would have to be in the same slot of a cluster.
func (s *Store) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if err := kv.CheckWrites(writes); err != nil || len(writes) == 0 {
		return nil, err
	}
	if s.mayAbandon(ctx) {
		writes = cloneWrites(writes)
	}
	return callWithContext(ctx, s, "write", func() ([]bool, error) {
		if len(writes) == 1 {
			return s.writeOne(ctx, &writes[0])
		}
		return s.writeBatch(ctx, writes, nil)
	})
}

// WriteSized implements kv.SizedWriter. It sends a STRLEN before each write in the same pipeline.
func (s *Store) WriteSized(ctx context.Context, writes []kv.Write) (done []bool, former []int, err error) {
	if s.closed.Load() {
		return nil, nil, errClosed
	}
	if err := kv.CheckWrites(writes); err != nil || len(writes) == 0 {
		return nil, nil, err
	}
	if s.mayAbandon(ctx) {
		writes = cloneWrites(writes)
	}
	type result struct {
		done   []bool
		former []int
	}
	r, err := callWithContext(ctx, s, "write", func() (r result, err error) {
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
	done, err := s.writeBatch(ctx, writes, sizes)
	former := make([]int, len(writes))
	for i := range sizes {
		former[i] = int(sizes[i].Val()) // 0 after an error, for example if the key has another type
	}
	if len(writes) == 1 {
		err = kv.ErrorsOf(err, 1)[0]
	}
	return done, former, err
}

// writeBatch makes the writes in one pipeline, each after its command of sizes, if sizes is not nil.
func (s *Store) writeBatch(ctx context.Context, writes []kv.Write, sizes []*redis.IntCmd) ([]bool, error) {
	commands := make([]redis.Cmder, len(writes))
	all := make([]redis.Cmder, 0, len(writes)+len(sizes))
	for i := range writes {
		if commands[i] = writeCommand(ctx, &writes[i], false); sizes != nil {
			all = append(all, sizes[i])
		}
		all = append(all, commands[i])
	}
	s.process(ctx, all)
	if c, ok := s.client.(*redis.Client); ok && sizes != nil && redis.HasErrorPrefix(commands[0].Err(), "READONLY") {
		_ = writeProbe(ctx, c) // a replica accepted the first command of the pipeline, so go-redis has kept the connection open
	}
	s.resendWithScript(ctx, writes, commands)
	done, errs, failed := make([]bool, len(writes)), make(kv.BatchError, len(writes)), false
	for i := range commands {
		if done[i], errs[i] = replyOutcome(commands[i]); errs[i] != nil {
			failed = true
		}
	}
	if failed {
		return done, errs
	}
	return done, nil
}

func (s *Store) writeOne(ctx context.Context, w *kv.Write) ([]bool, error) {
	c := writeCommand(ctx, w, false)
	if w.Op == kv.Put && w.If == kv.Always {
		s.sendShared(ctx, c, len(w.Value))
	} else if err := s.client.Process(ctx, c); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		c = writeCommand(ctx, w, true)
		_ = s.client.Process(ctx, c)
	}
	done, err := replyOutcome(c)
	return []bool{done}, err
}

// resendWithScript sends commands again, with the text of the script, if Redis refused them because it does not know
// the script.
func (s *Store) resendWithScript(ctx context.Context, writes []kv.Write, commands []redis.Cmder) {
	var resent []redis.Cmder
	for i, c := range commands {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			commands[i] = writeCommand(ctx, &writes[i], true)
			resent = append(resent, commands[i])
		}
	}
	if len(resent) > 0 {
		s.process(ctx, resent)
	}
}

// writeCommand returns the command that makes a write. It names a script by its hash, or includes its text if withText
// is set.
func writeCommand(ctx context.Context, w *kv.Write, withText bool) redis.Cmder {
	millis := roundUpToMillis(w.TTL).Milliseconds()
	switch {
	case w.Op == kv.Put && w.If == kv.Always && millis == 0:
		return redis.NewStatusCmd(ctx, "set", w.Key, w.Value)
	case w.Op == kv.Put && w.If == kv.Always:
		return redis.NewStatusCmd(ctx, "set", w.Key, w.Value, "px", millis)
	case w.Op == kv.Put && w.If == kv.Absent && millis == 0:
		return noRetryCmd{redis.NewCmd(ctx, "set", w.Key, w.Value, "nx")}
	case w.Op == kv.Put && w.If == kv.Absent:
		return noRetryCmd{redis.NewCmd(ctx, "set", w.Key, w.Value, "px", millis, "nx")}
	case w.Op == kv.Put && w.KeepTTL:
		return scriptCommand(ctx, swap, withText, w.Key, w.Old, w.Value)
	case w.Op == kv.Put:
		return scriptCommand(ctx, setIf, withText, w.Key, w.Old, w.Value, millis)
	case w.Op == kv.Remove && w.If == kv.Always:
		return noRetryCmd{redis.NewCmd(ctx, "del", w.Key)}
	case w.Op == kv.Remove:
		return scriptCommand(ctx, deleteIf, withText, w.Key, w.Old)
	}
	return scriptCommand(ctx, expireIf, withText, w.Key, w.Old, millis)
}

func scriptCommand(ctx context.Context, s script, withText bool, key string, args ...any) redis.Cmder {
	words := append(make([]any, 0, 4+len(args)), "evalsha", s.hash, 1, key)
	if withText {
		words[0], words[1] = "eval", s.text
	}
	return noRetryCmd{redis.NewCmd(ctx, append(words, args...)...)}
}

// replyOutcome reads the reply to a write command: OK, a number, or nil.
func replyOutcome(c redis.Cmder) (bool, error) {
	err := c.Err()
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil:
		return false, MapError("write", err)
	}
	if reply, ok := c.(noRetryCmd); ok {
		n, isNumber := reply.Val().(int64)
		return !isNumber || n > 0, nil
	}
	return true, nil
}
