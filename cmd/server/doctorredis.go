package main

import (
	"context"
	"errors"
	"time"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// eachRedis calls do with the Redis of the cache and that of the keysets, if there are any.
func (p *patient) eachRedis(ctx context.Context, do func(ctx context.Context, name string, store *rediskv.Store) []finding) (found []finding) {
	for _, one := range []struct {
		name string
		used bool
		open func() (*rediskv.Store, error)
	}{
		{"the cache", p.config.Redis.Configured(), p.config.Redis.Open}, {"the keysets", p.config.Keys.Redis != "", p.config.Keys.Open},
	} {
		if !one.used {
			continue
		}
		store, err := one.open()
		if err != nil {
			found = append(found, failing("", "the Redis of %s: %s", one.name, message(err)))
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, examineTimeout)
		found = append(found, do(ctx, one.name, store)...)
		cancel()
		_ = store.Close() // it was only asked
	}
	return found
}

func examineRedis(ctx context.Context, p *patient) []finding {
	found := p.eachRedis(ctx, func(ctx context.Context, name string, store *rediskv.Store) []finding {
		begin := time.Now()
		if err := store.Ping(ctx); err != nil {
			return []finding{failing("", "the Redis of %s: %s", name, message(err))}
		}
		took := brief(time.Since(begin))
		if name == "the keysets" {
			switch err := store.CheckDurable(ctx); {
			case errors.Is(err, rediskv.ErrNotDurable):
				return []finding{failing("", "the Redis of %s: %s", name, message(err))}
			case err != nil:
				return []finding{warning("make sure of appendonly yes, appendfsync always and maxmemory-policy noeviction", "the Redis of %s does not tell its settings", name)}
			}
		} else if policy, err := evictionPolicy(ctx, store); err == nil && policy == "noeviction" {
			return []finding{warning("set maxmemory-policy to allkeys-lru", "the Redis of %s refuses writes once its maxmemory is reached", name)}
		}
		return []finding{ok("the Redis of %s answers in %s", name, took)}
	})
	if len(found) == 0 {
		found = append(found, ok("none is configured: cache and keysets are in the data directory"))
	}
	return found
}

// evictionPolicy returns what Redis does at its memory limit; empty if it has no limit.
func evictionPolicy(ctx context.Context, store *rediskv.Store) (string, error) {
	limit, err := store.Client().ConfigGet(ctx, "maxmemory").Result()
	if err != nil || limit["maxmemory"] == "0" {
		return "", err
	}
	policy, err := store.Client().ConfigGet(ctx, "maxmemory-policy").Result()
	return policy["maxmemory-policy"], err
}

// redisClocks compares this clock with those of Redis.
func redisClocks(ctx context.Context, p *patient) []finding {
	return p.eachRedis(ctx, func(ctx context.Context, name string, store *rediskv.Store) []finding {
		begin := time.Now()
		theirs, err := store.Client().Time(ctx).Result()
		if err != nil {
			return nil // which the check of Redis tells
		}
		ours := begin.Add(time.Since(begin) / 2)
		if apart := theirs.Sub(ours).Abs(); apart > farApart {
			return []finding{failing("have both hosts set their clocks by NTP", "the clock of the Redis of %s is %s away from this one", name, brief(apart))}
		}
		return nil
	})
}
