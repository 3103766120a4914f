package config

import (
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

const defaultRedisPort = 6379

// Redis is the Redis of the cache: one server by URL or Host, a master behind Sentinels, or a Cluster. The zero Redis is not configured.
type Redis struct {
	URL      Secret // if it is set, the other fields are not used; it may have a password
	Host     string
	Port     int
	Username string
	Password Secret
	DB       int
	TLS      bool

	Sentinels        []string // host:port
	Master           string   // its name at the Sentinels
	SentinelPassword Secret
	Cluster          []string // host:port of some servers
}

// Configured reports whether a Redis is configured.
func (r *Redis) Configured() bool {
	return r.URL != "" || r.Host != "" || len(r.Sentinels) > 0 || len(r.Cluster) > 0
}

// Open returns a store over the configured Redis. It does not connect. The caller closes the store.
func (r *Redis) Open() (*rediskv.Store, error) {
	if r.URL != "" {
		return rediskv.Open(string(r.URL))
	}
	o := redis.UniversalOptions{Username: r.Username, Password: string(r.Password), DB: r.DB}
	switch {
	case len(r.Sentinels) > 0:
		o.Addrs, o.MasterName, o.SentinelPassword = r.Sentinels, r.Master, string(r.SentinelPassword)
	case len(r.Cluster) > 0:
		o.Addrs, o.IsClusterMode = r.Cluster, true
	default:
		o.Addrs = []string{net.JoinHostPort(r.Host, strconv.Itoa(r.Port))}
	}
	if r.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return rediskv.OpenOptions(o), nil
}

// redisSelectors are the variables of which one selects the Redis.
var redisSelectors = []string{"REDIS_URL", "REDIS_HOST", "REDIS_SENTINEL_ADDRS", "REDIS_CLUSTER_ADDRS"}

// redisDetails are the other variables, each with the selectors that it needs one of.
var redisDetails = []struct {
	variable  string
	selectors []string
}{
	{"REDIS_PORT", redisSelectors[1:2]},
	{"REDIS_DB", redisSelectors[1:3]},
	{"REDIS_USERNAME", redisSelectors[1:]},
	{"REDIS_PASSWORD", redisSelectors[1:]},
	{"REDIS_TLS", redisSelectors[1:]},
	{"REDIS_MASTER_NAME", redisSelectors[2:3]},
	{"REDIS_SENTINEL_PASSWORD", redisSelectors[2:3]},
}

// checkRedis checks that the settings of the cache's Redis fit each other. A URL wins over the others, which are often all set.
func (l *loader) checkRedis(c *Config) {
	selected := slices.DeleteFunc(slices.Clone(redisSelectors), func(variable string) bool { return !l.isSet(variable) })
	hasURL := slices.Contains(selected, "REDIS_URL")
	switch {
	case hasURL && len(selected) > 1:
		l.warn("%s are both set: REDIS_URL is used", strings.Join(selected[:2], " and "))
	case len(selected) > 1:
		l.refuse(selected[1], "and "+selected[0]+" are both set: unset one of them")
	}
	for _, d := range redisDetails {
		switch {
		case !l.isSet(d.variable) || slices.ContainsFunc(d.selectors, l.isSet):
		case !hasURL:
			l.refuse(d.variable, "is set, but not "+strings.Join(d.selectors, " or "))
		case d.variable != "REDIS_TLS":
			l.warn("%s is not used, because REDIS_URL is set", l.source(d.variable))
		}
	}
	if l.isSet("REDIS_SENTINEL_ADDRS") && !l.isSet("REDIS_MASTER_NAME") {
		l.refuse("REDIS_MASTER_NAME", "must be set if REDIS_SENTINEL_ADDRS is: the name of the master at the Sentinels")
	}
	if hasURL && l.checkRedisURL("REDIS_URL", c.Redis.Open) && l.isSet("REDIS_TLS") && strings.HasPrefix(string(c.Redis.URL), "redis:") {
		l.refuse("REDIS_URL", "must begin with rediss://, which means TLS, if REDIS_TLS is set")
	}
}

// checkKeysRedis checks the Redis of the keysets. Servers that share keysets must share a cache: a rotation looks at one cache, and
// destroys keys that no entry there needs.
func (l *loader) checkKeysRedis(c *Config) {
	const variable = "COFFER_KEYS_REDIS_URL"
	if c.Keys.Redis == "" {
		return
	}
	if !slices.ContainsFunc(redisSelectors, l.isSet) {
		l.refuse(variable, "is for servers that share a cache too: a rotation looks at one cache, and would destroy keys that the caches of other servers use; "+
			"set REDIS_URL, REDIS_HOST, REDIS_SENTINEL_ADDRS or REDIS_CLUSTER_ADDRS, or unset it to keep the keys in the data directory")
	}
	l.checkRedisURL(variable, c.Keys.Open)
}

// checkRedisURL reports whether open accepts the URL of a setting.
func (l *loader) checkRedisURL(variable string, open func() (*rediskv.Store, error)) bool {
	store, err := open()
	if err != nil {
		l.refuse(variable, "is not valid: "+strings.TrimPrefix(err.Error(), "rediskv: "))
		return false
	}
	_ = store.Close()
	return true
}
