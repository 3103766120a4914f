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

// Eviction is what the masters of a Redis report about entries that they remove because their memory is full.
type Eviction struct {
	// Policy is the maxmemory-policy of a master that has a memory limit and removes entries when it is reached. It is empty if there is
	// no such master.
	Policy string
	// Known reports whether every master stated its policy.
	Known bool
	// Processes are those of the masters, by their addresses.
	Processes map[string]ProcessStats
}

// Process is a running Redis.
type ProcessStats struct {
	ID      string // drawn when it started
	Evicted int64  // entries that it removed since then
	Flushes int64  // how often FLUSHALL or FLUSHDB emptied a database of it since then; -1 if it does not tell
}

// Eviction asks every master for its eviction policy and for the entries that it evicted. It uses INFO, which Redis services permit
// although they refuse CONFIG.
func (s *Store) Eviction(ctx context.Context) (Eviction, error) {
	if s.closed.Load() {
		return Eviction{}, errClosed
	}
	var mu sync.Mutex
	found := Eviction{Known: true, Processes: map[string]ProcessStats{}}
	err := s.askMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		pipe := c.Pipeline()
		info, commands := pipe.Info(ctx), pipe.Info(ctx, "commandstats")
		_, err := pipe.Exec(ctx)
		var refused redis.Error // some services have no statistics of commands
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
			flushes = calls(commands.Val(), "flushall") + calls(commands.Val(), "flushdb")
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

// Free returns how many bytes of memory the master with the least has left before it refuses writes. It returns math.MaxInt64 if none refuses.
func (s *Store) FreeMemory(ctx context.Context) (int64, error) {
	if s.closed.Load() {
		return 0, errClosed
	}
	var mu sync.Mutex
	least := int64(math.MaxInt64)
	err := s.askMasters(ctx, func(ctx context.Context, c *redis.Client) error {
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
		least = min(least, freeMemory(info.Val()))
		return nil
	})
	return least, err
}

// askMasters calls ask for each master, possibly at the same time.
func (s *Store) askMasters(ctx context.Context, ask func(ctx context.Context, c *redis.Client) error) error {
	_, err := bounded(ctx, s, "info", func() (struct{}, error) { return struct{}{}, s.eachMaster(ctx, ask) })
	if err != nil && !IsReplica(err) {
		return mapError("info", err)
	}
	return err
}

// isReplica reports whether a server is a replica by its answer to INFO. The masters of a cluster are those that it names.
func (s *Store) isReplica(info string) bool {
	_, cluster := s.client.(*redis.ClusterClient)
	return !cluster && field(info, "role") == "slave"
}

// add adds what a master answered to INFO, and how often it was emptied.
func (e *Eviction) add(addr, info string, flushes int64) {
	policy := field(info, "maxmemory_policy")
	if policy == "" {
		e.Known = false
	} else if policy != "noeviction" && field(info, "maxmemory") != "0" {
		e.Policy = policy
	}
	if n, err := strconv.ParseInt(field(info, "evicted_keys"), 10, 64); err == nil {
		e.Processes[addr] = ProcessStats{field(info, "run_id"), n, flushes}
	}
}

// free returns how much memory a Redis has left before it refuses writes.
func freeMemory(info string) int64 {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(field(info, name), 10, 64)
		return n
	}
	limit := number("maxmemory")
	if limit == 0 || field(info, "maxmemory_policy") != "noeviction" {
		return math.MaxInt64
	}
	return max(limit-(number("used_memory")-number("mem_not_counted_for_evict")), 0)
}

// calls returns how often a command was called: cmdstat_flushall:calls=1,usec=2,…
func calls(commands, name string) int64 {
	text, _ := strings.CutPrefix(field(commands, "cmdstat_"+name), "calls=")
	text, _, _ = strings.Cut(text, ",")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
