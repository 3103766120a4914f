package config

import (
	"math"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// Keys is how keysets are kept and used.
type Keys struct {
	Redis Secret        // URL of a Redis that holds them; empty: the data directory does
	TTL   time.Duration // how long keys stay in memory after the KMS last unwrapped them
	Uses  int           // packages for which they do; 0 is any number

	Tenants int // whose keys are in memory at most
	Calls   int // of the KMS at once

	RotateAge  time.Duration // of a keyset's newest key, after which it gets a new primary; 0 is never
	RotateUses int           // packages that a primary seals until then; 0 is any number
	Grace      time.Duration // for how long former keys stay as they are once the cache is under the new ones
	Rate       int           // entries that a rotation reseals in a second; 0 means no limit
}

// Open makes a store over the Redis that holds the keysets. It does not connect.
func (k *Keys) Open() (*rediskv.Store, error) { return rediskv.Open(string(k.Redis)) }

func (l *loader) keys(r *raw) Keys {
	k := Keys{Redis: Secret(r.KeysRedisURL), Uses: l.integer("COFFER_KEY_CACHE_USES", r.KeyCacheUses, 0, math.MaxInt)}
	if r.KeysRedisURL != "" {
		if r.RedisURL == "" && r.RedisHost == "" && r.RedisSentinels == "" && r.RedisCluster == "" {
			l.refuse("COFFER_KEYS_REDIS_URL", "is for servers that share a cache too: each would have one of its own, and a rotation, which looks at one, would "+
				"destroy keys that the others use; set REDIS_URL, REDIS_HOST, REDIS_SENTINEL_ADDRS or REDIS_CLUSTER_ADDRS, or leave the keys to the data directory")
		}
		store, err := k.Open()
		if err != nil {
			l.refuse("COFFER_KEYS_REDIS_URL", "is not valid: "+strings.TrimPrefix(err.Error(), "rediskv: "))
		} else {
			_ = store.Close()
		}
	}
	k.Tenants = l.integer("COFFER_KEY_CACHE_TENANTS", r.KeyCacheTenants, 1, maxLimit)
	k.Calls = l.integer("COFFER_KMS_CALLS", r.KMSCalls, 1, maxCalls)
	var err error
	if k.TTL, err = duration.Parse(r.KeyCacheTTL); err != nil || k.TTL < time.Minute || k.TTL > keyring.MaxTTL {
		l.refuse("COFFER_KEY_CACHE_TTL", "must be a duration from 1m to 1d")
	}
	k.RotateAge = time.Duration(l.integer("KEY_ROTATION_DAYS", r.RotationDays, 0, maxRotationDays)) * duration.Day
	k.RotateUses = l.integer("KEY_ROTATION_USES", r.RotationUses, 0, math.MaxInt)
	if k.Grace, err = duration.Parse(r.KeyGrace); err != nil || k.Grace < 0 || k.Grace > maxTTL {
		l.refuse("COFFER_KEY_GRACE", "must be a duration from 0s to 3650d, such as 24h or 7d")
	}
	k.Rate = l.integer("COFFER_REENCRYPT_RATE", r.ReencryptRate, 0, maxLimit)
	return k
}

const (
	maxRotationDays = 3650
	maxCalls        = 10_000
)
