package main

import (
	"context"
	"errors"
	"time"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// eachRedis calls do with each configured Redis: that of the cache and that of the keysets.
func (p *installation) eachRedis(ctx context.Context, do func(ctx context.Context, name string, store *rediskv.Store) []finding) (found []finding) {
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
			found = append(found, failureFinding("", "the Redis of %s: %s", one.name, errorText(err)))
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		found = append(found, do(ctx, one.name, store)...)
		cancel()
		_ = store.Close() // nothing was written
	}
	return found
}

func checkRedis(ctx context.Context, p *installation) []finding {
	found := p.eachRedis(ctx, func(ctx context.Context, name string, store *rediskv.Store) []finding {
		begin := time.Now()
		if err := store.Ping(ctx); err != nil {
			return []finding{failureFinding("", "the Redis of %s: %s", name, errorText(err))}
		}
		took := roundDuration(time.Since(begin))
		if name == "the keysets" {
			switch err := store.CheckDurable(ctx); {
			case errors.Is(err, rediskv.ErrNotDurable):
				return []finding{failureFinding("", "the Redis of %s: %s", name, errorText(err))}
			case err != nil:
				return append(checkEviction(ctx, name, store, failureFinding),
					warningFinding("set appendonly yes, appendfsync always and maxmemory-policy noeviction", "the Redis of %s does not show its settings", name))
			}
		}
		if found := checkEviction(ctx, name, store, warningFinding); len(found) > 0 {
			return found
		}
		return []finding{okFinding("the Redis of %s answers in %s", name, took)}
	})
	if len(found) == 0 {
		found = append(found, okFinding("none is configured: cache and keysets are in the data directory"))
	}
	return found
}

// checkEviction returns a finding if Redis may remove entries, or does not report whether it may.
func checkEviction(ctx context.Context, name string, store *rediskv.Store, judge func(advice, format string, args ...any) finding) []finding {
	const advice = "set maxmemory-policy to noeviction"
	state, err := store.Eviction(ctx)
	switch {
	case err != nil || state.Policy == "" && !state.Known:
		return []finding{warningFinding("grant its user +info, and "+advice, "the Redis of %s does not report whether it removes entries when its memory is full", name)}
	case state.Policy != "":
		return []finding{judge(advice, "the Redis of %s removes entries when its memory is full (maxmemory-policy %s)", name, state.Policy)}
	}
	return nil
}

// checkRedisClocks compares this host's clock with that of each Redis.
func checkRedisClocks(ctx context.Context, p *installation) []finding {
	return p.eachRedis(ctx, func(ctx context.Context, name string, store *rediskv.Store) []finding {
		begin := time.Now()
		theirs, err := store.Client().Time(ctx).Result()
		if err != nil {
			return nil // the check of Redis reports it
		}
		ours := begin.Add(time.Since(begin) / 2)
		if apart := theirs.Sub(ours).Abs(); apart > maxClockSkew {
			return []finding{failureFinding("synchronize the clocks of both hosts by NTP", "the clock of the Redis of %s differs from this one by %s", name, roundDuration(apart))}
		}
		return nil
	})
}
