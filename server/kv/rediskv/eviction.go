package rediskv

import (
	"context"
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
	Processes map[string]Process
}

// Process is a running Redis.
type Process struct {
	ID      string // drawn when it started
	Evicted int64  // entries that it removed since then
	Flushes int64  // how often FLUSHALL or FLUSHDB emptied a database of it since then; 0 if it does not tell
}

// Eviction asks every master for its eviction policy and for the entries that it evicted. It uses INFO, which Redis services permit
// although they refuse CONFIG.
func (s *Store) Eviction(ctx context.Context) (Eviction, error) {
	if s.closed.Load() {
		return Eviction{}, errClosed
	}
	var mu sync.Mutex
	found := Eviction{Known: true, Processes: map[string]Process{}}
	err := s.askMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx).Result()
		if err != nil {
			return err
		}
		commands, _ := c.Info(ctx, "commandstats").Result() // some services have none
		mu.Lock()
		defer mu.Unlock()
		found.add(c.Options().Addr, info, commands)
		return nil
	})
	if err != nil {
		return Eviction{}, err
	}
	return found, nil
}

// Free returns how many bytes of memory the master with the least has left before it refuses writes. It returns math.MaxInt64 if none refuses.
func (s *Store) Free(ctx context.Context) (int64, error) {
	if s.closed.Load() {
		return 0, errClosed
	}
	var mu sync.Mutex
	least := int64(math.MaxInt64)
	err := s.askMasters(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		least = min(least, free(info))
		return nil
	})
	return least, err
}

// askMasters calls ask for each master, possibly at the same time.
func (s *Store) askMasters(ctx context.Context, ask func(ctx context.Context, c *redis.Client) error) error {
	_, err := bounded(ctx, s, "info", func() (struct{}, error) { return struct{}{}, s.eachMaster(ctx, ask) })
	if err != nil {
		return failure("info", err)
	}
	return nil
}

// add adds what a master answered to INFO and to INFO commandstats.
func (e *Eviction) add(addr, info, commands string) {
	policy := field(info, "maxmemory_policy")
	if policy == "" {
		e.Known = false
	} else if policy != "noeviction" && field(info, "maxmemory") != "0" {
		e.Policy = policy
	}
	if n, err := strconv.ParseInt(field(info, "evicted_keys"), 10, 64); err == nil {
		e.Processes[addr] = Process{field(info, "run_id"), n, calls(commands, "flushall") + calls(commands, "flushdb")}
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
	return max(limit-(number("used_memory")-number("mem_not_counted_for_evict")), 0)
}

// calls returns how often a command was called: cmdstat_flushall:calls=1,usec=2,…
func calls(commands, name string) int64 {
	text, _ := strings.CutPrefix(field(commands, "cmdstat_"+name), "calls=")
	text, _, _ = strings.Cut(text, ",")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
