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

// app is an open server without its listener. Its parts are in the order in which a request and its value pass them.
type app struct {
	config *config.Config
	log    *slog.Logger
	stdout io.Writer

	metrics *metrics.Metrics
	keys    *keys // keyring, KEKs and keystore

	auditKey    *audit.Key
	auditLog    *audit.File
	auditCopy   *auditCopy
	recorder    audit.Recorder // records in auditLog and raises the alarms of the metrics
	auditReader *audit.Reader
	refusals    *audit.Refusals

	tokens        *token.Authenticator
	authenticator identity.Authenticator // tokens and, if configured, the identity provider

	storage     *storageWatch
	store       *quotakv.Store // of the cache and the sessions
	memory      *limit.Memory  // shared by requests and rotations
	rotator     *rotation.Rotator
	unknownKeys *rotation.UnknownKeyScanner

	readiness *readiness.Monitor
}

// openApp opens the parts of a server, one after the other, and closes all of them if one fails. ctx ends when the server shuts down.
// The caller closes the app.
func openApp(ctx context.Context, c *config.Config, stdout io.Writer, log *slog.Logger) (*app, error) {
	a := &app{config: c, log: log, stdout: stdout}
	for _, open := range []func(context.Context) error{
		a.openMetrics, a.openKeys, a.openAuditLog, a.openTokens, a.openStore, a.openRotation, a.openReadiness,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

func (a *app) openMetrics(context.Context) error {
	a.metrics = metrics.New(api.Operations(), func(tenant string) string { return a.auditKey.HashTenant(tenant) }) // opened later: metrics count its KMS calls
	if a.config.Unencrypted {
		a.metrics.SetUnencrypted()
	}
	return nil
}

func (a *app) openKeys(ctx context.Context) (err error) {
	if a.keys, err = openKeys(ctx, a.config, a.metrics.WatchKMS, a.log); err != nil {
		return err
	}
	a.metrics.WatchKeys(a.keys.ring)
	return a.keys.unlock(ctx, a.config)
}

func (a *app) openAuditLog(ctx context.Context) (err error) {
	if a.auditCopy, err = openAuditCopy(a.config, a.stdout, a.metrics.AuditCopyLost, a.log); err != nil {
		return err
	}
	options := auditOptions(a.config, a.log)
	options.Mirror = a.auditCopy.copy()
	options.OnLost, options.OnAltered = a.metrics.AuditUnrecorded, func() { a.metrics.IntegrityFailed(0, 1) }
	if a.auditLog, a.auditKey, err = openAudit(ctx, a.config, a.keys.system, options); err != nil {
		return err
	}
	a.recorder = api.NewAlarm(a.auditLog, a.metrics, a.log)
	a.auditReader, a.refusals = audit.NewReader(auditPath(a.config), a.auditKey), audit.NewRefusals(a.recorder, a.log)
	a.metrics.WatchAudit(a.auditLog.Size)
	return nil
}

// openTokens opens the API tokens and, if configured, the identity provider.
func (a *app) openTokens(ctx context.Context) (err error) {
	a.tokens, err = token.Open(ctx, token.Options{Store: a.keys.store, System: a.keys.system, Audit: a.recorder, Log: a.log})
	if err != nil {
		return err
	}
	a.metrics.WatchTokens(func() metrics.TokenCounts {
		n := a.tokens.Counts()
		states := map[string]int{"live": n.Live, "expired": n.Expired, "revoked": n.Revoked, "altered": n.Altered}
		return metrics.TokenCounts{States: states, Expiring: n.Expiring}
	})
	a.authenticator = a.tokens
	if a.config.OIDC.Issuer != "" {
		provider, err := a.config.OIDC.Open(a.log)
		if err != nil {
			return err
		}
		a.authenticator = identity.Any(a.tokens, provider)
	}
	return nil
}

func (a *app) openRotation(context.Context) error {
	a.memory = limit.NewMemory(int64(a.config.Limits.Bytes), int64(a.config.Limits.TenantBytes))
	a.rotator = newRotator(a.config, a.keys, a.store, a.recorder, a.memory, cache.WithExpiryHook(a.storage.outlived))
	watchRotations(a.metrics, a.rotator)
	a.unknownKeys = rotation.NewUnknownKeyScanner(a.rotator, a.log, a.metrics.Tenant)
	a.metrics.WatchUnknownKeys(a.unknownKeys.Entries)
	return nil
}

func (a *app) openReadiness(ctx context.Context) (err error) {
	if a.readiness, err = a.newMonitor(ctx); err != nil {
		return err
	}
	a.metrics.WatchReadiness(a.readiness)
	return nil
}

// refusalDelay is short for a client that made a mistake. It limits a client that floods the server to ten requests a second on each of
// its connections.
const refusalDelay = 100 * time.Millisecond

// handlerOptions returns what the handler of the HTTP API needs.
func (a *app) handlerOptions(ctx context.Context) api.Options {
	c := a.config
	return api.Options{
		Store: a.store, Keys: a.tenantKeys, Keyring: a.keys.ring, Rotator: a.rotator, Identity: a.authenticator,
		Audit: a.recorder, AuditReader: a.auditReader, Refusals: a.refusals, Metrics: a.metrics,
		Cache: append(cacheOptions(c), cache.WithExpiryHook(a.storage.outlived)), Unencrypted: c.Unencrypted,
		Sessions: []session.Option{session.WithMaxTTL(c.TTL[classify.Confidential]), session.WithExpiredHook(a.storage.outlived)},
		Limits: limit.NewTenants(limit.Quota{
			Rate: float64(c.Limits.Rate), Burst: c.Limits.Burst, Concurrent: c.Limits.Concurrent,
		}, nil),
		Failures: limit.NewFailures(c.Limits.Failures, nil), AllowedOrigins: c.Origins, TrustedProxies: c.Proxies,
		Memory: a.memory, Demo: demo.Files(), Log: a.log, LogShare: c.Log.Requests, MaxBody: c.MaxBody, RefusalDelay: refusalDelay, Timeout: c.RequestTimeout,
		Ready: a.readiness, Shutdown: ctx,
	}
}

func (a *app) tenantKeys(ctx context.Context, id string) (seal.Keys, error) {
	tenant, err := a.keys.ring.Tenant(ctx, id)
	if err != nil {
		return nil, err // an interface with a nil *Tenant would not be nil
	}
	return tenant, nil
}

// startRotating rotates keys and scans for entries under unknown keys until stop is called. It does nothing if values are stored in the
// clear.
func (a *app) startRotating(ctx context.Context) (stop func()) {
	if a.config.Unencrypted {
		return func() {}
	}
	stopScan := runInBackground(ctx, a.unknownKeys.Watch)
	stopRotator := runInBackground(ctx, func(ctx context.Context) { a.rotator.Serve(ctx, a.log) })
	return func() { stopScan(); stopRotator() }
}

// close closes the parts that were opened.
func (a *app) close() (err error) {
	if a.store != nil {
		err = a.store.Close()
	}
	if a.tokens != nil {
		a.tokens.Close()
	}
	if a.keys != nil {
		err = errors.Join(err, a.keys.close())
	}
	if a.auditLog != nil {
		err = errors.Join(err, a.auditLog.Close())
	}
	if a.auditCopy != nil {
		err = errors.Join(err, a.auditCopy.close())
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

// newRotator returns a rotator with the server's settings. Pass a nil store if another process has the cache open, and a nil memory for
// no limit.
func newRotator(c *config.Config, k *keys, store kv.Store, recorder audit.Recorder, memory *limit.Memory, more ...cache.Option) *rotation.Rotator {
	return rotation.New(rotation.Options{
		Keyring: k.ring, Keystore: k.store, Store: store, Cache: append(cacheOptions(c), more...), Audit: recorder, Memory: memory,
		MaxAge: c.Keys.RotateAge, MaxUses: uint64(c.Keys.RotateUses), Grace: c.Keys.Grace, Rate: c.Keys.Rate,
	})
}

// watchRotations reports a rotator's statistics as metrics.
func watchRotations(m *metrics.Metrics, r *rotation.Rotator) {
	names := make([]string, len(rotation.States))
	for i, state := range rotation.States {
		names[i] = string(state)
	}
	m.WatchRotations(names, []string{"kept", "reencrypted", "changed", "failed", "foreign"}, func() metrics.RotationStats {
		stats := r.Stats()
		return rotationMetrics(&stats)
	})
}

func rotationMetrics(stats *rotation.Stats) metrics.RotationStats {
	n := stats.Entries
	now := metrics.RotationStats{
		EntriesLeft: stats.EntriesLeft, Sweeping: stats.Sweeping, Checked: stats.Checked, OldestPrimary: stats.OldestPrimary,
		Overdue: stats.Overdue, SpareRotations: stats.SpareRotations, Errors: stats.Errors,
		Incomplete: stats.Incomplete, CacheNotShared: stats.CacheNotShared,
		Entries: map[string]int{
			"kept":        n.Scanned - n.Reencrypted - n.Changed - n.Failed - n.Foreign,
			"reencrypted": n.Reencrypted, "changed": n.Changed, "failed": n.Failed, "foreign": n.Foreign,
		},
	}
	if stats.Rotations != nil {
		now.States = map[string]int{}
		for state, tenants := range stats.Rotations {
			now.States[string(state)] = tenants
		}
	}
	return now
}

// runInBackground runs f in a goroutine. stop ends its context and waits for it.
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
