package rediskv

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Eviction describes whether, and how often, the masters of a Redis removed entries because their memory was full.
type Eviction struct {
	// Policy is the maxmemory-policy of a master that has a memory limit and evicts entries when it reaches the limit.
	// It is empty if no master does.
	Policy string
	// Known reports whether every master reported its policy.
	Known bool
	// Processes has the statistics of the masters, by their addresses.
	Processes map[string]ProcessStats
}

// ProcessStats are statistics of a Redis process since it started.
type ProcessStats struct {
	ID      string // the run_id, which is random for each start
	Evicted int64  // number of evicted entries
	Flushes int64  // number of calls of FLUSHALL and FLUSHDB; -1 if Redis does not report it
}

// Eviction asks every master for its eviction policy and statistics. It uses INFO, which Redis services permit even if
// they refuse CONFIG.
func (s *Store) Eviction(ctx context.Context) (Eviction, error) {
	if s.closed.Load() {
		return Eviction{}, errClosed
	}
	var mu sync.Mutex
	found := Eviction{Known: true, Processes: map[string]ProcessStats{}}
	err := s.callMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		pipe := c.Pipeline()
		info, commands := pipe.Info(ctx), pipe.Info(ctx, "commandstats")
		_, err := pipe.Exec(ctx)
		var refused redis.Error // some services do not support INFO commandstats
		switch {
		case info.Err() != nil:
			return info.Err()
		case err != nil && !errors.As(err, &refused):
			return err
		case s.isReplica(info.Val()):
			return errReplica
		}
		flushes := int64(-1)
		if err == nil {
			flushes = callCount(commands.Val(), "flushall") + callCount(commands.Val(), "flushdb")
		}
		mu.Lock()
		defer mu.Unlock()
		found.add(c.Options().Addr, info.Val(), flushes)
		return nil
	})
	if err != nil {
		return Eviction{}, err
	}
	return found, nil
}

// FreeMemory returns the bytes of memory that the fullest master has left before it refuses writes. It returns
// math.MaxInt64 if no master has a limit at which it refuses writes.
func (s *Store) FreeMemory(ctx context.Context) (int64, error) {
	if s.closed.Load() {
		return 0, errClosed
	}
	var mu sync.Mutex
	lowest := int64(math.MaxInt64)
	err := s.callMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		pipe := c.Pipeline()
		role, info := pipe.Info(ctx, "replication"), pipe.Info(ctx, "memory")
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		if s.isReplica(role.Val()) {
			return errReplica
		}
		mu.Lock()
		defer mu.Unlock()
		lowest = min(lowest, freeMemory(info.Val()))
		return nil
	})
	return lowest, err
}

// callMasters calls ask for each master, concurrently if there are several.
func (s *Store) callMasters(ctx context.Context, ask func(ctx context.Context, c *redis.Client) error) error {
	_, err := callWithContext(ctx, s, "info", func() (struct{}, error) { return struct{}{}, s.eachMaster(ctx, ask) })
	if err != nil && !IsReplica(err) {
		return MapError("info", err)
	}
	return err
}

// isReplica reports whether a reply to INFO comes from a replica. A cluster client only asks masters.
func (s *Store) isReplica(info string) bool {
	_, cluster := s.client.(*redis.ClusterClient)
	return !cluster && infoField(info, "role") == "slave"
}

// add adds the reply of a master to INFO and its number of flushes.
func (e *Eviction) add(addr, info string, flushes int64) {
	policy := infoField(info, "maxmemory_policy")
	if policy == "" {
		e.Known = false
	} else if policy != "noeviction" && infoField(info, "maxmemory") != "0" {
		e.Policy = policy
	}
	if n, err := strconv.ParseInt(infoField(info, "evicted_keys"), 10, 64); err == nil {
		e.Processes[addr] = ProcessStats{infoField(info, "run_id"), n, flushes}
	}
}

// freeMemory returns the bytes of memory that Redis has left before it refuses writes.
func freeMemory(info string) int64 {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(infoField(info, name), 10, 64)
		return n
	}
	limit := number("maxmemory")
	if limit == 0 || infoField(info, "maxmemory_policy") != "noeviction" {
		return math.MaxInt64
	}
	return max(limit-(number("used_memory")-number("mem_not_counted_for_evict")), 0)
}

// callCount returns how often a command was called, from a field such as cmdstat_flushall:calls=1,usec=2.
func callCount(commands, name string) int64 {
	text, _ := strings.CutPrefix(infoField(commands, "cmdstat_"+name), "calls=")
	text, _, _ = strings.Cut(text, ",")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
