package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/codes"
)

// errEvicts means that a Redis removes entries when its memory is full.
var errEvicts = &codes.Error{ErrorCode: "store_evicts", Message: "set its maxmemory-policy to noeviction, and give it enough memory"}

// redisWatches detect entries that the Redis of the cache, or that of the keysets, lost.
type redisWatches []*redisWatch

// redisWatch watches one Redis.
type redisWatch struct {
	name   string // cache or keysets
	redis  *rediskv.Store
	losses metrics.Losses
	log    *slog.Logger

	state   rediskv.Eviction // of the last answer
	evicted bool             // this process saw Redis remove entries
	unknown bool             // the last INFO was refused
}

// watchRedis returns a watch of each Redis that the server uses.
func (a *app) watchRedis() (all redisWatches) {
	losses := a.metrics.WatchLosses("cache", "keysets")
	watch := func(name string, redis *rediskv.Store) {
		all = append(all, &redisWatch{name: name, redis: redis, losses: losses, log: a.log})
	}
	if redis, ok := a.store.Backend.(*rediskv.Store); ok {
		watch("cache", redis)
	}
	if keysets, ok := a.keys.store.(*rediskeys.Store); ok {
		watch("keysets", rediskv.New(keysets.Client()))
	}
	return all
}

// check returns an error that names each Redis that may remove entries. It must not be called concurrently.
func (all redisWatches) check(ctx context.Context) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, one := range all { // concurrently, because one that hangs must not hide the others
		group.Go(func() { errs[i] = one.check(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// check asks Redis. If Redis does not answer, which other checks report, the last answer is used.
func (w *redisWatch) check(ctx context.Context) error {
	ctx, cancel := halfDeadline(ctx)
	defer cancel()
	if state, err := w.redis.Eviction(ctx); err == nil {
		w.unknown = false
		w.recordChanges(state)
	} else if !w.unknown && !errors.Is(err, kv.ErrLostReply) && !rediskv.IsReplica(err) && w.redis.Ping(ctx) == nil {
		w.unknown = true
		w.log.Warn("a Redis does not report whether it removes entries when its memory is full: grant its user +info", "store", w.name, "error", err)
	}
	switch {
	case w.state.Policy != "":
		return fmt.Errorf("the Redis of the %s removes entries when its memory is full (maxmemory-policy %s): %w", w.name, w.state.Policy, errEvicts)
	case w.evicted && !w.state.Known:
		return fmt.Errorf("the Redis of the %s removed entries because its memory was full: %w", w.name, errEvicts)
	}
	return nil
}

// recordChanges counts and logs the changes since the last answer: a process of Redis that replaced another one, databases that were
// emptied, and entries that were removed, of which only the first ones are logged.
func (w *redisWatch) recordChanges(state rediskv.Eviction) {
	var removed, flushes int64
	for addr, now := range state.Processes {
		before, known := w.state.Processes[addr]
		switch {
		case !known: // it may have evicted them before this server started
		case before.ID == now.ID:
			removed += max(now.Evicted-before.Evicted, 0)
			if before.Flushes >= 0 { // otherwise the count may be old
				flushes += max(now.Flushes-before.Flushes, 0)
			}
		default:
			removed, flushes = removed+now.Evicted, flushes+max(now.Flushes, 0)
			w.losses.Restarted(w.name)
			w.log.Warn("a Redis was restarted or replaced: entries that it had not saved are lost", "store", w.name)
		}
	}
	w.state = state
	if flushes > 0 {
		w.losses.Flushed(w.name, flushes)
		w.log.Error("a database of a Redis was emptied by FLUSHALL or FLUSHDB: its entries are lost", "store", w.name)
	}
	if removed == 0 {
		return
	}
	w.losses.Evicted(w.name, removed)
	if !w.evicted {
		w.evicted = true
		w.log.Error("a Redis removed entries because its memory was full: set its maxmemory-policy to noeviction, and give it more memory", "store", w.name, "entries", removed)
	}
}

// halfDeadline returns a context that ends after half of the time that ctx has left. A check that takes all of that time counts as failed,
// whatever it returns.
func halfDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}
