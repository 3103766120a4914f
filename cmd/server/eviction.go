package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/codes"
)

// errEvicts reports a Redis that removes entries when its memory is full.
var errEvicts = &codes.Error{Of: "store_evicts", Text: "set its maxmemory-policy to noeviction, and give it enough memory"}

// evictions watches the Redis of the cache and that of the keysets.
type evictions []*redisEvictions

// redisEvictions watches one Redis.
type redisEvictions struct {
	name  string // cache or keysets
	redis *rediskv.Store
	count func(name string, entries int64)
	log   *slog.Logger

	state   rediskv.Eviction // as of the last answer
	evicted bool             // this process saw that entries were removed
	unknown bool             // Redis answered, but not to INFO
}

// watchEvictions returns a watch of each Redis that the server uses.
func (p *parts) watchEvictions(log *slog.Logger) (all evictions) {
	count := p.metrics.WatchEvictions("cache", "keysets")
	watch := func(name string, redis *rediskv.Store) {
		all = append(all, &redisEvictions{name: name, redis: redis, count: count, log: log})
	}
	if redis, ok := p.store.Inner.(*rediskv.Store); ok {
		watch("cache", redis)
	}
	if keysets, ok := p.keys.store.(*rediskeys.Store); ok {
		watch("keysets", rediskv.New(keysets.Client()))
	}
	return all
}

// check returns an error that states each Redis that may remove entries. It must not be called concurrently.
func (all evictions) check(ctx context.Context) error {
	var errs []error
	for _, one := range all {
		errs = append(errs, one.check(ctx))
	}
	return errors.Join(errs...)
}

// check asks Redis. If Redis cannot be reached, which other checks report, its last answer counts.
func (e *redisEvictions) check(ctx context.Context) error {
	if state, err := e.redis.Eviction(ctx); err == nil {
		e.note(state)
	} else if !e.unknown && e.redis.Ping(ctx) == nil {
		e.unknown = true
		e.log.Warn("a Redis does not report whether it removes entries when its memory is full: grant its user +info", "store", e.name, "error", err)
	}
	switch {
	case e.state.Policy != "":
		return fmt.Errorf("the Redis of the %s removes entries when its memory is full (maxmemory-policy %s): %w", e.name, e.state.Policy, errEvicts)
	case e.evicted && !e.state.Known:
		return fmt.Errorf("the Redis of the %s removed entries because its memory was full: %w", e.name, errEvicts)
	}
	return nil
}

// note counts the entries that were removed since the last answer, and logs the first. A process of Redis that was not known then
// may have removed its entries before this server started.
func (e *redisEvictions) note(state rediskv.Eviction) {
	var removed int64
	for process, n := range state.Evicted {
		if before, known := e.state.Evicted[process]; known {
			removed += max(n-before, 0)
		}
	}
	e.state = state
	if removed == 0 {
		return
	}
	e.count(e.name, removed)
	if !e.evicted {
		e.evicted = true
		e.log.Error("a Redis removed entries because its memory was full: set its maxmemory-policy to noeviction, and give it more memory", "store", e.name, "entries", removed)
	}
}
