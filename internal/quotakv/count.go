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
	countEvery = 10 * time.Minute // the time between two counts, if no tenant reaches its quota
	countPause = 10 * time.Second // the least time between two
	countRate  = 20_000           // entries a second
	countPage  = 1000
)

// ask asks for a count.
func (s *Store) ask() {
	select {
	case s.counts <- struct{}{}:
	default:
	}
}

// Count counts the bytes of all owners again and again, until ctx ends. Without a quota it returns at once.
func (s *Store) RunCounts(ctx context.Context, log *slog.Logger) {
	if s.sizer == nil {
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
		err := s.count(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			log.Warn("the storage of tenants cannot be counted: quotas follow this server's own writes", "error", err.Error())
		}
		failed = err != nil
		if failed {
			s.ask()
		}
		select {
		case <-time.After(countPause):
		case <-ctx.Done():
			return
		}
	}
}

// count counts once, at a limited rate. Nothing changes if keys may have been missed.
func (s *Store) count(ctx context.Context) error {
	s.mu.Lock()
	s.since = map[string]int64{}
	s.mu.Unlock()
	sums, err := s.sum(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		for owner, grow := range s.since {
			s.add(sums, owner, max(grow, 0)) // maybe counted twice, until the next count
		}
		s.used = sums
	}
	s.since = nil
	return err
}

// sum returns the bytes of each owner.
func (s *Store) sum(ctx context.Context) (map[string]int64, error) {
	begun, err := s.Topology(ctx)
	if err != nil {
		return nil, err
	}
	sums, limiter := map[string]int64{}, rate.NewLimiter(countRate, countPage)
	for _, part := range begun.Parts {
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
	ended, err := s.Topology(ctx)
	if err == nil && ended.ID != begun.ID {
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
