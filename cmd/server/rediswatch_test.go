package main_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// Evictions are counted, and logged once.
func TestRedisThatMayEvictDegradesTheServer(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t, "--maxmemory-policy", "allkeys-random")
	p := serve(t, t.TempDir(), "ENCRYPTION_MASTER_KEY="+masterA, "COFFER_KEYS_REDIS_URL=redis://"+keysets.Addr, "REDIS_URL=redis://"+cache.Addr)
	ready := func() string { return p.answers(http.StatusOK, "", "GET", "/readyz", "") }
	soon(t, func() bool { return !strings.Contains(ready(), "degraded") })
	const failing = `coffer_check_failing{code="store_evicts",effect="degraded"}`
	require.Zero(t, p.metric(failing), "it has no limit of memory")

	for _, one := range []struct {
		store string
		redis *redis.Client
	}{{"cache", cache.Client(t)}, {"keysets", keysets.Client(t)}} {
		set := func(name, value string) {
			t.Helper()
			require.NoError(t, one.redis.ConfigSet(t.Context(), name, value).Err())
		}
		set("maxmemory", "1gb")
		set("maxmemory-policy", "volatile-ttl")
		soon(t, func() bool { return strings.Contains(ready(), `"degraded":["store_evicts"]`) })
		require.EqualValues(t, 1, p.metric(failing))
		p.logs(`the Redis of the ` + one.store + ` removes entries`)
		evicted := fmt.Sprintf("coffer_store_evicted_total{store=%q}", one.store)
		require.Zero(t, p.metric(evicted))

		for i := range 2 { // the second round is not logged again
			before := p.metric(evicted)
			for n := range 1000 {
				require.NoError(t, one.redis.Set(t.Context(), fmt.Sprintf("other/%d/%d", i, n), strings.Repeat("x", 1000), 1e12).Err())
			}
			removed := redisNumber(t, one.redis, "evicted_keys")
			soon(t, func() bool { // again if Redis needs less memory in the meantime
				set("maxmemory", strconv.Itoa(redisNumber(t, one.redis, "used_memory")-64<<10))
				return redisNumber(t, one.redis, "evicted_keys") > removed
			})
			soon(t, func() bool { return p.metric(evicted) > before })
			set("maxmemory", "1gb")
		}
		const logged = `"level":"ERROR","msg":"a Redis removed entries because its memory was full`
		p.logs(logged)
		require.Equal(t, 1, strings.Count(p.log.String(), `"store":"`+one.store+`"`), p.log.String())

		set("maxmemory-policy", "noeviction")
		soon(t, func() bool { return !strings.Contains(ready(), "degraded") })
		require.Zero(t, p.metric(failing))
	}
}

// redisNumber returns a number from the INFO of Redis.
func redisNumber(t *testing.T, client *redis.Client, name string) int {
	t.Helper()
	all, err := client.InfoMap(t.Context(), "memory", "stats").Result()
	require.NoError(t, err)
	for _, section := range all {
		if text, ok := section[name]; ok {
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("Redis does not report %s", name)
	return 0
}

// The other Redis is still checked.
func TestRedisThatHangsIsNotReportedAsEvicting(t *testing.T) {
	t.Parallel()
	keysets := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	cache := redistest.Start(t)
	p := serve(t, t.TempDir(), "ENCRYPTION_MASTER_KEY="+masterA, "COFFER_KEYS_REDIS_URL=redis://"+keysets.Addr, "REDIS_URL=redis://"+cache.Addr)
	soon(t, func() bool { return !strings.Contains(p.answers(http.StatusOK, "", "GET", "/readyz", ""), "degraded") })
	cache.Freeze()
	defer cache.Thaw()
	p.answers(http.StatusServiceUnavailable, "", "GET", "/readyz", "")
	require.NotContains(t, p.log.String(), "store_evicts")

	admin := keysets.Client(t)
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1gb").Err())
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	p.logs("the Redis of the keysets removes entries")
}

// The server is ready. It logs again if INFO worked in the meantime.
func TestRedisThatRefusesInfoIsLoggedOnce(t *testing.T) {
	t.Parallel()
	cache := redistest.Start(t, "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")
	admin := cache.Client(t)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info").Err())
	p := serve(t, t.TempDir(), "REDIS_URL=redis://app:pw@"+cache.Addr)
	const text = "a Redis does not report whether it removes entries"
	p.logs(text)
	refused := func() int {
		info, err := admin.InfoMap(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		_, n, _ := strings.Cut(info["Commandstats"]["cmdstat_info"], "rejected_calls=")
		n, _, _ = strings.Cut(n, ",")
		count, err := strconv.Atoi(n)
		require.NoError(t, err)
		return count
	}
	before := refused()
	soon(t, func() bool {
		require.NotContains(t, p.answers(http.StatusOK, "", "GET", "/readyz", ""), "store_evicts")
		return refused() > before+5
	})
	require.Equal(t, 1, strings.Count(p.log.String(), text), p.log.String())

	grant := func(rule string) { require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", rule).Err()) }
	grant("+info")
	soon(t, func() bool {
		return strings.Contains(p.answers(http.StatusOK, "", "GET", "/readyz", ""), "store_evicts")
	})
	grant("-info")
	soon(t, func() bool { return strings.Count(p.log.String(), text) == 2 })
}

// awaitWatch waits until the server has read the state of its Redis, with which it compares later states. It sets a limit of 1 GB.
func awaitWatch(t *testing.T, p *process, admin *redis.Client) {
	t.Helper()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1gb").Err())
	for _, one := range []struct {
		policy, code string
		reported     bool
	}{{"allkeys-lru", "store_evicts", true}, {"noeviction", "degraded", false}} {
		require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory-policy", one.policy).Err())
		soon(t, func() bool {
			return strings.Contains(p.answers(http.StatusOK, "", "GET", "/readyz", ""), one.code) == one.reported
		})
	}
}

func TestServerReportsAFlushedRedis(t *testing.T) {
	t.Parallel()
	cache := redistest.Start(t)
	admin := cache.Client(t)
	require.NoError(t, admin.FlushAll(t.Context()).Err()) // before the server starts
	p := serve(t, t.TempDir(), "REDIS_URL=redis://"+cache.Addr)
	p.put(p.token, "k", record)
	const flushed = `coffer_store_flushed_total{store="cache"}`
	awaitWatch(t, p, admin)
	require.Zero(t, p.metric(flushed))
	require.NoError(t, admin.FlushAll(t.Context()).Err())
	require.NoError(t, admin.FlushDB(t.Context()).Err())
	soon(t, func() bool { return p.metric(flushed) == 2 })
	p.logs("was emptied by FLUSHALL or FLUSHDB")
	require.Zero(t, p.metric(`coffer_store_restarts_total{store="cache"}`))
}

func TestRedisWithoutSpaceForTheLargestEntryDegradesTheServer(t *testing.T) {
	t.Parallel()
	cache := redistest.Start(t, "--maxmemory", "1gb", "--maxmemory-policy", "noeviction")
	p := serve(t, t.TempDir(), "REDIS_URL=redis://"+cache.Addr, "COFFER_MAX_BODY=8000000")
	ready := func() string { return p.answers(http.StatusOK, "", "GET", "/readyz", "") }
	soon(t, func() bool { return !strings.Contains(ready(), "degraded") })
	admin := cache.Client(t)
	limit := func(free int) {
		limit := strconv.Itoa(redisNumber(t, admin, "used_memory") + free)
		require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", limit).Err())
	}
	limit(6 << 20)
	soon(t, func() bool { return strings.Contains(ready(), `"degraded":["storage_full"]`) })
	p.logs("free bytes of its maxmemory")
	limit(64 << 20)
	soon(t, func() bool { return !strings.Contains(ready(), "degraded") })
}

func TestServerReportsARestartedRedis(t *testing.T) {
	t.Parallel()
	cache := redistest.Start(t)
	p := serve(t, t.TempDir(), "REDIS_URL=redis://"+cache.Addr)
	require.Zero(t, p.metric(`coffer_store_restarts_total{store="cache"}`))
	awaitWatch(t, p, cache.Client(t))
	cache.Stop()
	cache.Restart()
	soon(t, func() bool { return p.metric(`coffer_store_restarts_total{store="cache"}`) == 1 })
	p.logs(`a Redis was restarted or replaced`)
	require.Zero(t, p.metric(`coffer_store_restarts_total{store="keysets"}`))
}
