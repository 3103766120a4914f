package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// newMonitor returns the checks of readiness. ctx ends when the server shuts down.
func (a *app) newMonitor(ctx context.Context) (*readiness.Monitor, error) {
	store, err := readiness.StoreProbe(a.store)
	if err != nil {
		return nil, err
	}
	// Servers announce themselves in the keystore every few seconds, which fails if the keystore refuses writes. The check storage_full
	// reports a full disk.
	keys := func(ctx context.Context) error {
		announced := a.rotator.AnnounceError()
		if errors.Is(announced, keystore.ErrFull) {
			announced = nil
		}
		return errors.Join(a.keys.ready(ctx), announced)
	}
	checks := []readiness.Check{
		{Code: "shutting_down", Instant: true, Run: func(context.Context) error { return ctx.Err() }},
		{Code: "store_unavailable", Run: func(ctx context.Context) error {
			err := store(ctx)
			if errors.Is(err, kv.ErrFull) && !a.config.Redis.Configured() && a.storage.check(ctx) != nil {
				return nil // the check storage_full reports it: reads and deletions work
			}
			return err
		}},
		{Code: "keyring_unavailable", Run: keys},
		{Code: "audit_unavailable", Run: a.auditLog.Ready, Degrades: a.config.Audit.OnFailure == audit.Continue},
		{Code: "keyring_unavailable", Degrades: true, Run: func(ctx context.Context) error {
			return errors.Join(a.keys.checkKEKs(ctx), a.tokens.Ready(ctx)) // keys and tokens in memory still work
		}},
		{Code: "authentication_failed", Degrades: true, Run: a.keys.ring.CheckRejected},
		{Code: "unknown_key", Degrades: true, Run: a.unknownKeys.Check},
		{Code: "storage_full", Degrades: true, Run: func(ctx context.Context) error {
			return errors.Join(a.storage.check(ctx), a.checkRedisMemory(ctx, largestEntry(a.config)))
		}},
		{Code: "store_unavailable", Degrades: true, Run: a.store.Check},
		{Code: "store_evicts", Degrades: true, Run: a.watchRedis().check},
	}
	if a.config.Unencrypted {
		checks = append(checks, readiness.Check{Code: "encryption_disabled", Degrades: true, Run: func(context.Context) error { return cache.ErrEncryption }})
	} else {
		checks = append(checks, readiness.Check{Code: "cache_not_shared", Degrades: true, Run: a.rotator.CheckCacheShared})
	}
	checks = append(checks, readiness.Check{Code: "audit_almost_full", Degrades: true, Run: a.auditLog.CheckBudget})
	return readiness.New(a.log, readiness.ReuseTime, checks...), nil
}

// checkRedisMemory returns an error if the memory of the cache's Redis has no space for the largest entry. It returns nil if Redis does
// not answer, which other checks report.
func (a *app) checkRedisMemory(ctx context.Context, largest int64) error {
	redis, ok := a.store.Backend.(*rediskv.Store)
	if !ok {
		return nil
	}
	ctx, cancel := halfDeadline(ctx)
	defer cancel()
	if free, err := redis.FreeMemory(ctx); err == nil && free < largest {
		return fmt.Errorf("a Redis of the cache has %d free bytes of its maxmemory: larger entries are refused: %w", free, kv.ErrFull)
	}
	return nil
}
