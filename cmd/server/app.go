package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/quotakv"
	"github.com/coffer-storage/coffer/internal/readiness"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/web/demo"
)

// parts is what a server is put together from.
type app struct {
	identity identity.Authenticator
	tokens   *token.Authenticator
	metrics  *metrics.Metrics
	keys     *keys
	audit    *audit.File
	recorder audit.Recorder // records in audit
	copies   *auditCopy
	trail    *audit.Reader
	refusals *audit.Refusals
	store    *quotakv.Store
	storage  *storageWatch
	memory   *limit.Memory
	rotator  *rotation.Rotator
	unknown  *rotation.UnknownKeyScanner
	ready    *readiness.Monitor
}

// openParts opens everything that the server needs, and ends the start where something is not as it must be.
func openApp(ctx context.Context, c *config.Config, out io.Writer, log *slog.Logger) (p *app, err error) {
	p = &app{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	operations, err := api.Operations()
	if err != nil {
		return p, err
	}
	var key *audit.Key
	p.metrics = metrics.New(operations, func(tenant string) string { return key.HashTenant(tenant) }) // which counts the calls that open the key
	if c.Unencrypted {
		p.metrics.SetUnencrypted()
	}
	if p.keys, err = openKeys(ctx, c, p.metrics.WatchKMS, log); err != nil {
		return p, err
	}
	p.metrics.WatchKeys(p.keys.ring)
	if err = p.keys.unlock(ctx, c); err != nil {
		return p, err
	}
	if p.copies, err = openAuditCopy(c, out, p.metrics.AuditCopyLost, log); err != nil {
		return p, err
	}
	options := auditOptions(c, log)
	options.Mirror = p.copies.copy()
	options.OnLost, options.OnAltered = p.metrics.AuditUnrecorded, func() { p.metrics.IntegrityFailed(0, 1) }
	if p.audit, key, err = openAudit(ctx, c, p.keys.system, options); err != nil {
		return p, err
	}
	p.recorder = api.NewAlarm(p.audit, p.metrics, log)
	p.trail, p.refusals = audit.NewReader(auditPath(c), key), audit.NewRefusals(p.recorder, log)
	p.metrics.WatchAudit(p.audit.Size)
	if err = p.openTokens(ctx, c, log); err != nil {
		return p, err
	}
	p.storage = newStorageWatch(c, key.HashTenant, log)
	p.storage.countOutlived = p.metrics.WatchExpired()
	if p.store, err = openStore(c, p, log); err != nil {
		return p, err
	}
	p.memory = limit.NewMemory(int64(c.Limits.Bytes), int64(c.Limits.TenantBytes))
	p.rotator = newRotator(c, p.keys, p.store, p.recorder, p.memory, cache.WithOutlived(p.storage.outlived))
	watchRotations(p.metrics, p.rotator)
	p.unknown = rotation.NewUnknownKeyScanner(p.rotator, log, p.metrics.Tenant)
	p.metrics.WatchUnknownKeys(p.unknown.Entries)
	if p.ready, err = p.newMonitor(ctx, c, log); err != nil {
		return p, err
	}
	p.metrics.WatchReadiness(p.ready)
	return p, nil
}

// openTokens opens the environment's own tokens, and accepts the JWTs of the identity provider if there is one.
func (p *app) openTokens(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	var provider identity.Authenticator
	if c.OIDC.Issuer != "" {
		if provider, err = c.OIDC.Open(log); err != nil {
			return err
		}
	}
	p.tokens, err = token.Open(ctx, token.Options{
		Store: p.keys.store, System: p.keys.system, Audit: p.recorder, Log: log,
	})
	if err != nil {
		return err
	}
	p.metrics.WatchTokens(func() metrics.TokenCounts {
		n := p.tokens.Counts()
		states := map[string]int{"live": n.Live, "expired": n.Expired, "revoked": n.Revoked, "altered": n.Altered}
		return metrics.TokenCounts{States: states, Expiring: n.Expiring}
	})
	if p.identity = p.tokens; provider != nil {
		p.identity = identity.Any(p.tokens, provider)
	}
	return nil
}

// refusalPause is short for a client that made a mistake, and lets one that floods the server send ten requests a second
// on each of its connections.
const refusalDelay = 100 * time.Millisecond

func (p *app) options(c *config.Config, log *slog.Logger) api.Options {
	return api.Options{
		Store: p.store, Keys: p.tenantKeys, Ring: p.keys.ring, Rotator: p.rotator, Identity: p.identity,
		Audit: p.recorder, Trail: p.trail, Refusals: p.refusals, Metrics: p.metrics,
		Cache: append(cacheOptions(c), cache.WithOutlived(p.storage.outlived)), Unencrypted: c.Unencrypted,
		Sessions: []session.Option{session.WithMaxTTL(c.TTL[classify.Confidential]), session.WithExpiredHook(p.storage.outlived)},
		Limits: limit.NewTenants(limit.Quota{
			Rate: float64(c.Limits.Rate), Burst: c.Limits.Burst, Concurrent: c.Limits.Concurrent,
		}, nil),
		Failures: limit.NewFailures(c.Limits.Failures, nil), Origins: c.Origins, Proxies: c.Proxies,
		Memory: p.memory, Demo: demo.Files(), Log: log, LogShare: c.Log.Requests, MaxBody: c.MaxBody, Pause: refusalDelay, Timeout: c.RequestTimeout,
		Ready: p.ready,
	}
}

func (p *app) tenantKeys(ctx context.Context, id string) (seal.Keys, error) {
	tenant, err := p.keys.ring.Tenant(ctx, id)
	if err != nil {
		return nil, err // not a nil tenant in an interface that is not nil
	}
	return tenant, nil
}

// keysStale reports whether the KEKs' last call failed, or the tokens in memory are stale, though both still work.
func (p *app) checkStale(ctx context.Context) error {
	return errors.Join(keysFailing(p.keys.ring)(ctx), p.tokens.Ready(ctx))
}

// rotate rotates keys and looks for entries under unknown ones until it is stopped. Values in the clear have none.
func (p *app) startRotating(ctx context.Context, c *config.Config, log *slog.Logger) (stop func()) {
	if c.Unencrypted {
		return func() {}
	}
	stopScan := runInBackground(ctx, p.unknown.Watch)
	stopRotator := runInBackground(ctx, func(ctx context.Context) { p.rotator.Serve(ctx, log) })
	return func() { stopScan(); stopRotator() }
}

// countStorage counts what tenants keep, until it is stopped.
func (p *app) startCounting(ctx context.Context, log *slog.Logger) (stop func()) {
	return runInBackground(ctx, func(ctx context.Context) { p.store.RunCounts(ctx, log) })
}

// close closes what was opened.
func (p *app) close() (err error) {
	if p.store != nil {
		err = p.store.Close()
	}
	if p.tokens != nil {
		p.tokens.Close()
	}
	if p.keys != nil {
		err = errors.Join(err, p.keys.close())
	}
	if p.audit != nil {
		err = errors.Join(err, p.audit.Close())
	}
	if p.copies != nil {
		err = errors.Join(err, p.copies.close())
	}
	return err
}

func cacheOptions(c *config.Config) (options []cache.Option) {
	if c.Unencrypted {
		options = append(options, cache.Unencrypted())
	}
	for class, ttl := range c.TTL {
		options = append(options, cache.WithMaxTTL(class, ttl))
	}
	return options
}

// newRotator makes what rotates, as the server is configured. A nil store is another process's; a nil memory
// is as much as it takes.
func newRotator(c *config.Config, k *keys, store kv.Store, recorder audit.Recorder, memory *limit.Memory, more ...cache.Option) *rotation.Rotator {
	return rotation.New(rotation.Options{
		Keyring: k.ring, Keystore: k.store, Store: store, Cache: append(cacheOptions(c), more...), Audit: recorder, Memory: memory,
		MaxAge: c.Keys.RotateAge, MaxUses: uint64(c.Keys.RotateUses), Grace: c.Keys.Grace, Rate: c.Keys.Rate,
	})
}

// watchRotations has the metrics tell what a rotator saw.
func watchRotations(m *metrics.Metrics, r *rotation.Rotator) {
	names := make([]string, len(rotation.States))
	for i, state := range rotation.States {
		names[i] = string(state)
	}
	m.WatchRotations(names, []string{"kept", "reencrypted", "changed", "failed", "foreign"}, func() metrics.RotationStats {
		seen := r.Stats()
		return rotationMetrics(&seen)
	})
}

func rotationMetrics(seen *rotation.Stats) metrics.RotationStats {
	n := seen.Entries
	now := metrics.RotationStats{
		EntriesLeft: seen.EntriesLeft, Sweeping: seen.Sweeping, Checked: seen.Checked, OldestPrimary: seen.OldestPrimary, Overdue: seen.Overdue, SpareRotations: seen.SpareRotations, Errors: seen.Errors,
		Incomplete: seen.Incomplete, CacheNotShared: seen.CacheNotShared,
		Entries: map[string]int{
			"kept":        n.Scanned - n.Reencrypted - n.Changed - n.Failed - n.Foreign,
			"reencrypted": n.Reencrypted, "changed": n.Changed, "failed": n.Failed, "foreign": n.Foreign,
		},
	}
	if seen.Rotations != nil {
		now.States = map[string]int{}
		for state, tenants := range seen.Rotations {
			now.States[string(state)] = tenants
		}
	}
	return now
}

// beside runs f until it is stopped.
func runInBackground(ctx context.Context, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
