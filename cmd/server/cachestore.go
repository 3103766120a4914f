package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/quotakv"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/format"
)

// openStore opens the store of the cache: Redis if it is configured, and the embedded store in the data directory otherwise.
func (a *app) openStore(context.Context) (err error) {
	a.storage = newStorageWatch(a.config, a.auditKey.HashTenant, a.log)
	a.storage.countOutlived = a.metrics.WatchExpired()
	if a.config.Redis.Configured() {
		redis, err := openRedis(a.config, a.log)
		if err != nil {
			return err
		}
		a.store, err = a.storage.wrap(redis, int64(a.config.Limits.Storage), a.metrics)
		return err
	}
	embedded, err := openEmbedded(a.config, a.log)
	if err != nil {
		return err
	}
	a.store, err = a.storage.wrap(embedded, 0, a.metrics) // the embedded store enforces the quota itself, and exactly
	return err
}

func openEmbedded(c *config.Config, log *slog.Logger) (*sqlitekv.Store, error) {
	dir := cacheDir(c)
	log.Info("the cache is embedded", "directory", dir)
	store, err := sqlitekv.Open(dir, log, sqlitekv.WithQuota(int64(c.Limits.Storage)), sqlitekv.WithMinFreeSpace(c.MinFree))
	switch {
	case errors.Is(err, sqlitekv.ErrInUse):
		return nil, refusedError(fmt.Errorf("another server, or a command, uses %s: stop it, or give this one a --data of its own", c.Data))
	case errors.Is(err, kv.ErrDamaged):
		return nil, fmt.Errorf("%w: stop all servers; `coffer store check` names the damage, and `coffer store repair` keeps what can be read", err)
	}
	return store, err
}

// openRedis opens the Redis of the cache. A Redis that cannot be reached does not stop the start: requests are answered 503 until it can.
func openRedis(c *config.Config, log *slog.Logger) (*rediskv.Store, error) {
	redis.SetLogger(redisLog{log})
	store, err := c.Redis.Open()
	if err != nil {
		return nil, err
	}
	log.Info("the cache is in Redis")
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	if err := store.Ping(ctx); err != nil {
		log.Warn("Redis cannot be reached yet; requests are answered 503 until it can", "error", err)
	}
	return store, nil
}

// pingTimeout is how long the start waits to find out that a Redis does not answer.
const pingTimeout = 2 * time.Second

// redisLog writes the messages of go-redis to the server's log at level debug. The errors of calls have the same content.
type redisLog struct{ log *slog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

const (
	warningInterval   = 10 * time.Minute // without a refusal, after which the next one is logged
	maxRefusedTenants = 1000             // tenants whose last refusal is remembered
)

// storageWatch counts and logs refused writes, and checks the free space of the data directory's disk.
type storageWatch struct {
	dir           string
	minFree       int64
	minForLargest int64 // free bytes below which the largest entry is refused
	log           *slog.Logger
	hashTenant    func(tenant string) string // for the log
	countRefusal  func(code string)

	countOutlived func(class classify.Class)

	mu           sync.Mutex
	lastOutlived time.Time            // when the store last returned an entry that had outlived its class
	lastRefusal  map[string]time.Time // by owner, when a write was last refused for its quota
}

func newStorageWatch(c *config.Config, hashTenant func(tenant string) string, log *slog.Logger) *storageWatch {
	needs := c.MinFree
	if !c.Redis.Configured() {
		needs = sqlitekv.SpaceNeeded(largestEntry(c), c.MinFree)
	}
	return &storageWatch{dir: c.Data, minFree: c.MinFree, minForLargest: needs, log: log, hashTenant: hashTenant, countRefusal: func(string) {}, lastRefusal: map[string]time.Time{}}
}

// largestEntry returns the largest size of an entry in the store in bytes.
func largestEntry(c *config.Config) int64 { return c.MaxBody + kv.MaxValueSize - format.MaxValue }

// wrap returns a store that enforces the quota of tenants in bytes and reports metrics; 0 means no limit.
func (s *storageWatch) wrap(inner quotakv.Backend, quota int64, m *metrics.Metrics) (*quotakv.Store, error) {
	store, err := quotakv.New(inner, quotakv.Options{Quota: quota, OnRefused: s.refused})
	if err != nil {
		return nil, err
	}
	free := func() (int64, error) { return durable.FreeSpace(s.dir) }
	s.countRefusal = m.WatchStorage(metrics.Storage{Bytes: store.Bytes, Free: free}, codes.Of(kv.ErrQuota).Code, codes.Of(kv.ErrFull).Code)
	return store, nil
}

// refused counts a refused write. It logs the first one of an owner.
func (s *storageWatch) refused(owner string, reason error) {
	s.countRefusal(codes.Of(reason).Code)
	if !errors.Is(reason, kv.ErrQuota) {
		return // the readiness check reports a full disk
	}
	now := time.Now()
	s.mu.Lock()
	last := s.lastRefusal[owner]
	if len(s.lastRefusal) >= maxRefusedTenants {
		clear(s.lastRefusal)
	}
	s.lastRefusal[owner] = now
	s.mu.Unlock()
	if tenant, _, _, ok := kv.SplitKey(owner + "/"); ok && now.Sub(last) > warningInterval {
		s.log.Warn("a tenant's storage quota is used up: its writes are refused with quota_exceeded", "tenant", s.hashTenant(tenant))
	}
}

// outlived counts and logs an entry that the store kept for longer than its class allows.
func (s *storageWatch) outlived(class classify.Class) {
	s.countOutlived(class)
	now := time.Now()
	s.mu.Lock()
	quiet := now.Sub(s.lastOutlived) < warningInterval
	s.lastOutlived = now
	s.mu.Unlock()
	if !quiet {
		s.log.Warn("the store kept entries for longer than their class allows, and they were removed: check whether someone removes their time to live", "class", class.String())
	}
}

// check returns an error if the disk has too little free space for the largest entry.
func (s *storageWatch) check(context.Context) error {
	free, err := durable.FreeSpace(s.dir)
	if err == nil && free < s.minForLargest {
		err = fmt.Errorf("the disk of %s has %d free bytes: large entries of the embedded store are refused below %d, and all new ones below COFFER_MIN_FREE (%d): %w",
			s.dir, free, s.minForLargest, s.minFree, kv.ErrFull)
	}
	return err
}
