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

// openStore opens Redis where it is configured, and the store embedded in the data directory where not. A
// Redis that cannot be reached stops nothing: requests say so until it is there.
func openStore(c *config.Config, p *app, log *slog.Logger) (*quotakv.Store, error) {
	quota := int64(c.Limits.Storage)
	if c.Redis.Configured() {
		redis, err := openRedis(c, log)
		if err != nil {
			return nil, err
		}
		return p.storage.wrap(redis, quota, p.metrics)
	}
	dir := cacheDir(c)
	log.Info("the cache is embedded", "directory", dir)
	store, err := sqlitekv.Open(dir, log, sqlitekv.WithQuota(quota), sqlitekv.WithMinFreeSpace(c.MinFree))
	if errors.Is(err, sqlitekv.ErrInUse) {
		return nil, refusedError(fmt.Errorf("another server, or a command, uses %s: stop it, or give this one a --data of its own", c.Data))
	}
	if errors.Is(err, kv.ErrDamaged) {
		err = fmt.Errorf("%w: stop all servers; `coffer store check` names the damage, and `coffer store repair` keeps what can be read", err)
	}
	if err != nil {
		return nil, err
	}
	return p.storage.wrap(store, 0, p.metrics) // the embedded store counts exactly
}

func openRedis(c *config.Config, log *slog.Logger) (*rediskv.Store, error) {
	redis.SetLogger(redisLog{log})
	store, err := c.Redis.Open()
	if err != nil {
		return nil, err
	}
	log.Info("the cache is in Redis")
	ctx, cancel := context.WithTimeout(context.Background(), firstPing)
	defer cancel()
	if err := store.Ping(ctx); err != nil {
		log.Warn("Redis cannot be reached yet; requests are answered 503 until it can", "error", err)
	}
	return store, nil
}

// redisLog takes go-redis' own messages, which would go past the log to standard error. What fails is in the
// error of a call as well.
type redisLog struct{ log *slog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

const (
	// quotaSilence is after how long without a refusal the next one is logged again, and maxOver how many tenants are
	// remembered in between.
	warningInterval   = 10 * time.Minute
	maxRefusedTenants = 1000
)

// storage watches what tenants keep in the store, and the free space of the data directory's disk.
type storageWatch struct {
	dir           string
	minFree       int64
	minForLargest int64 // free space without which the largest entry is refused
	log           *slog.Logger
	hash          func(tenant string) string // for the log
	count         func(code string)          // of a refusal

	countOutlived func(class classify.Class)

	mu           sync.Mutex
	lastOutlived time.Time            // when it was last logged that the store kept an entry for too long
	lastRefusal  map[string]time.Time // when a write was last refused for an owner's quota
}

func newStorageWatch(c *config.Config, hash func(tenant string) string, log *slog.Logger) *storageWatch {
	needs := c.MinFree
	if !c.Redis.Configured() {
		needs = sqlitekv.SpaceNeeded(largestEntry(c), c.MinFree)
	}
	return &storageWatch{dir: c.Data, minFree: c.MinFree, minForLargest: needs, log: log, hash: hash, count: func(string) {}, lastRefusal: map[string]time.Time{}}
}

// largestEntry returns how many bytes an entry has at most in the store.
func largestEntry(c *config.Config) int64 { return c.MaxBody + kv.MaxValueSize - format.MaxValue }

// wrap limits and watches a store. quota is 0 for the embedded store, which counts exactly.
func (s *storageWatch) wrap(inner quotakv.Backend, quota int64, m *metrics.Metrics) (*quotakv.Store, error) {
	store, err := quotakv.New(inner, quotakv.Options{Quota: quota, OnRefused: s.refused})
	if err != nil {
		return nil, err
	}
	free := func() (int64, error) { return durable.FreeSpace(s.dir) }
	s.count = m.WatchStorage(metrics.Storage{Bytes: store.Bytes, Free: free}, codes.Of(kv.ErrQuota).Code, codes.Of(kv.ErrFull).Code)
	return store, nil
}

// refused counts a refused write, and logs the first of an owner.
func (s *storageWatch) refused(owner string, reason error) {
	s.count(codes.Of(reason).Code)
	if !errors.Is(reason, kv.ErrQuota) {
		return // readiness logs the disk
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
		s.log.Warn("a tenant's storage quota is used up: its writes are refused with quota_exceeded", "tenant", s.hash(tenant))
	}
}

// outlived logs that the store kept an entry for longer than its class allows.
func (s *storageWatch) outlived(class classify.Class) {
	s.countOutlived(class)
	now := time.Now()
	s.mu.Lock()
	quiet := now.Sub(s.lastOutlived) < warningInterval
	s.lastOutlived = now
	s.mu.Unlock()
	if !quiet {
		s.log.Warn("the store kept entries for longer than their class allows, and they were removed: does somebody take their time to live away?", "class", class.String())
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
