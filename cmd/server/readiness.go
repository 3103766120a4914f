package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// newMonitor makes the checks of readiness. The server shuts down once ctx ends.
func (p *app) newMonitor(ctx context.Context, c *config.Config, log *slog.Logger) (*readiness.Monitor, error) {
	store, err := readiness.StoreProbe(p.store)
	if err != nil {
		return nil, err
	}
	// Servers announce themselves in the keystore every few seconds, which fails if it takes no writes. The check storage_full
	// reports a full disk.
	keys := func(ctx context.Context) error {
		announced := p.rotator.AnnounceError()
		if errors.Is(announced, keystore.ErrFull) {
			announced = nil
		}
		return errors.Join(p.keys.ready(ctx), announced)
	}
	checks := []readiness.Check{
		{Code: "shutting_down", Instant: true, Run: func(context.Context) error { return ctx.Err() }},
		{Code: "store_unavailable", Run: func(ctx context.Context) error {
			err := store(ctx)
			if errors.Is(err, kv.ErrFull) && !c.Redis.Configured() && p.storage.check(ctx) != nil {
				return nil // the check storage_full reports it: reads and deletions go on, and the disk keeps its minimum
			}
			return err
		}},
		{Code: "keyring_unavailable", Run: keys},
		{Code: "audit_unavailable", Run: p.audit.Ready, Degrades: c.Audit.OnFailure == audit.Continue},
		{Code: "keyring_unavailable", Degrades: true, Run: p.checkStale},
		{Code: "authentication_failed", Degrades: true, Run: p.keys.ring.CheckRejected},
		{Code: "unknown_key", Degrades: true, Run: p.unknown.Check},
		{Code: "storage_full", Degrades: true, Run: func(ctx context.Context) error {
			return errors.Join(p.storage.check(ctx), p.checkRedisMemory(ctx, largestEntry(c)))
		}},
		{Code: "store_unavailable", Degrades: true, Run: p.store.Check},
		{Code: "store_evicts", Degrades: true, Run: p.watchRedis(log).check},
	}
	if c.Unencrypted {
		checks = append(checks, readiness.Check{Code: "encryption_disabled", Degrades: true, Run: func(context.Context) error { return cache.ErrEncryption }})
	} else {
		checks = append(checks, readiness.Check{Code: "cache_not_shared", Degrades: true, Run: p.rotator.CheckCacheShared})
	}
	checks = append(checks, readiness.Check{Code: "audit_almost_full", Degrades: true, Run: p.audit.CheckBudget})
	return readiness.New(log, readiness.ReuseTime, checks...), nil
}

// checkRoom returns an error if the cache's Redis would refuse an entry of so many bytes because its memory is full. It returns nil if Redis
// cannot be asked, which other checks report.
func (p *app) checkRedisMemory(ctx context.Context, largest int64) error {
	redis, ok := p.store.Backend.(*rediskv.Store)
	if !ok {
		return nil
	}
	ctx, cancel := halfTime(ctx)
	defer cancel()
	if free, err := redis.FreeMemory(ctx); err == nil && free < largest {
		return fmt.Errorf("a Redis of the cache has %d free bytes of its maxmemory: entries of more are refused: %w", free, kv.ErrFull)
	}
	return nil
}
