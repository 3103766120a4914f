package rediskv

import (
	"context"
	"math"
	"strconv"
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
	Processes map[string]Process
}

// Process is a running Redis.
type Process struct {
	ID      string // drawn when it started
	Evicted int64  // entries that it removed since then
	Free    int64  // bytes of memory before it refuses writes; math.MaxInt64 if it does not
}

// Eviction asks every master for its eviction policy and for the entries that it evicted. It uses INFO, which Redis services permit
// although they refuse CONFIG.
func (s *Store) Eviction(ctx context.Context) (Eviction, error) {
	if s.closed.Load() {
		return Eviction{}, errClosed
	}
	var mu sync.Mutex
	found := Eviction{Known: true, Processes: map[string]Process{}}
	_, err := bounded(ctx, s, "info", func() (struct{}, error) {
		return struct{}{}, s.eachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			info, err := c.Info(ctx).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found.add(c.Options().Addr, info)
			return nil
		})
	})
	if err != nil {
		return Eviction{}, failure("info", err)
	}
	return found, nil
}

// add adds what a master answered to INFO.
func (e *Eviction) add(addr, info string) {
	policy := field(info, "maxmemory_policy")
	if policy == "" {
		e.Known = false
	} else if policy != "noeviction" && field(info, "maxmemory") != "0" {
		e.Policy = policy
	}
	if n, err := strconv.ParseInt(field(info, "evicted_keys"), 10, 64); err == nil {
		e.Processes[addr] = Process{field(info, "run_id"), n, free(info)}
	}
}

// free returns how much memory a Redis has left before it refuses writes.
func free(info string) int64 {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(field(info, name), 10, 64)
		return n
	}
	limit := number("maxmemory")
	if limit == 0 || field(info, "maxmemory_policy") != "noeviction" {
		return math.MaxInt64
	}
	return limit - (number("used_memory") - number("mem_not_counted_for_evict"))
}
