package quotakv

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/kv"
)

const (
	countEvery = 10 * time.Minute // time between two counts if no tenant reaches its quota
	countPause = 10 * time.Second // shortest time between two counts
	countRate  = 20_000           // entries per second
	countPage  = 1000
)

// requestCount requests a count soon.
func (s *Store) requestCount() {
	select {
	case s.counts <- struct{}{}:
	default:
	}
}

// RunCounts counts the bytes of all owners, periodically and on request, until ctx ends. It returns at once if there is
// no quota.
func (s *Store) RunCounts(ctx context.Context, log *slog.Logger) {
	if s.sizedWriter == nil {
		return
	}
	for failed := false; ; {
		next := time.NewTimer(countEvery + rand.N(countEvery/4))
		select {
		case <-s.counts:
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
		next.Stop()
		err := s.countOnce(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			log.Warn("the storage of tenants cannot be counted: quotas follow this server's own writes", "error", err.Error())
		}
		failed = err != nil
		if failed {
			s.requestCount()
		}
		select {
		case <-time.After(countPause):
		case <-ctx.Done():
			return
		}
	}
}

// countOnce counts all owners once, at a limited rate. If keys may have been missed, it returns an error and changes
// nothing.
func (s *Store) countOnce(ctx context.Context) error {
	s.mu.Lock()
	s.sinceCount = map[string]int64{}
	s.mu.Unlock()
	sums, err := s.sumByOwner(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		for owner, grow := range s.sinceCount {
			s.add(sums, owner, max(grow, 0)) // may be counted twice, until the next count
		}
		s.used = sums
	}
	s.sinceCount = nil
	return err
}

// sumByOwner returns the bytes of each owner.
func (s *Store) sumByOwner(ctx context.Context) (map[string]int64, error) {
	before, err := s.Topology(ctx)
	if err != nil {
		return nil, err
	}
	sums, limiter := map[string]int64{}, rate.NewLimiter(countRate, countPage)
	for _, part := range before.Parts {
		for cursor := ""; ; {
			keys, next, err := s.SweepPage(ctx, part, kv.TenantPrefix, cursor, countPage)
			if err == nil {
				err = limiter.WaitN(ctx, min(len(keys), countPage))
			}
			if err == nil {
				err = s.sumPage(ctx, keys, sums)
			}
			if err != nil {
				return nil, err
			}
			if cursor = next; cursor == "" {
				break
			}
		}
	}
	after, err := s.Topology(ctx)
	if err == nil && after.ID != before.ID {
		err = fmt.Errorf("quotakv: %w: keys moved in the meantime", kv.ErrUnavailable)
	}
	return sums, err
}

func (s *Store) sumPage(ctx context.Context, keys []string, sums map[string]int64) error {
	found, err := s.Backend.Read(ctx, keys, 0)
	if err != nil {
		return err
	}
	for i, key := range keys {
		if owner := kv.OwnerPrefixOf(key); owner != "" && found[i].Exists() {
			sums[owner] += int64(len(key) + found[i].Size)
		}
	}
	return nil
}
