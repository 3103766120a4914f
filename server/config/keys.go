package config

import (
	"math"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

// Keys is how keysets are kept and used.
type Keys struct {
	Redis Secret        // URL of a Redis that holds them; empty: the data directory does
	TTL   time.Duration // how long keys stay in memory after the KMS last unwrapped them
	Uses  int           // packages for which they do; 0 is any number
}

// Open makes a store over the Redis that holds the keysets. It does not connect.
func (k *Keys) Open() (*rediskv.Store, error) { return rediskv.Open(string(k.Redis)) }

func (l *loader) keys(r *raw) Keys {
	k := Keys{Redis: Secret(r.KeysRedisURL), Uses: l.integer("COFFER_KEY_CACHE_USES", r.KeyCacheUses, 0, math.MaxInt)}
	if r.KeysRedisURL != "" {
		store, err := k.Open()
		if err != nil {
			l.refuse("COFFER_KEYS_REDIS_URL", "is not valid: "+strings.TrimPrefix(err.Error(), "rediskv: "))
		} else {
			_ = store.Close()
		}
	}
	var err error
	if k.TTL, err = time.ParseDuration(r.KeyCacheTTL); err != nil || k.TTL < time.Minute || k.TTL > keyring.MaxTTL {
		l.refuse("COFFER_KEY_CACHE_TTL", "must be a duration from 1m to 24h")
	}
	return k
}
