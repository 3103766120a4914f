package config

import (
	"crypto/tls"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
)

const defaultRedisPort = 6379

// Redis says where the cache lies: in one server by URL or Host, behind Sentinels, or in a Cluster. The zero
// Redis is none.
type Redis struct {
	URL      Secret // says all, and may hold a password
	Host     string
	Port     int
	Username string
	Password Secret
	DB       int
	TLS      bool

	Sentinels        []string // host:port
	Master           string   // the name that the Sentinels know it by
	SentinelPassword Secret
	Cluster          []string // host:port of some of its servers
}

// Configured reports whether there is a Redis at all.
func (r *Redis) Configured() bool {
	return r.URL != "" || r.Host != "" || len(r.Sentinels) > 0 || len(r.Cluster) > 0
}

// Open makes a store over the configured Redis. It does not connect.
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

// redisWays are the variables that say which Redis; one of them does.
var redisWays = []string{"REDIS_URL", "REDIS_HOST", "REDIS_SENTINEL_ADDRS", "REDIS_CLUSTER_ADDRS"}

// redisDetails says with which of them each other variable goes.
var redisDetails = []struct {
	variable string
	ways     []string
}{
	{"REDIS_PORT", redisWays[1:2]},
	{"REDIS_DB", redisWays[1:3]},
	{"REDIS_USERNAME", redisWays[1:]},
	{"REDIS_PASSWORD", redisWays[1:]},
	{"REDIS_TLS", redisWays[1:]},
	{"REDIS_MASTER_NAME", redisWays[2:3]},
	{"REDIS_SENTINEL_PASSWORD", redisWays[2:3]},
}

func (l *loader) redis(r *raw) Redis {
	out := Redis{
		URL: Secret(r.RedisURL), Host: r.RedisHost, Port: defaultRedisPort, Username: r.RedisUsername, Password: Secret(r.RedisPassword),
		Sentinels: l.addresses("REDIS_SENTINEL_ADDRS", r.RedisSentinels), Master: r.RedisMaster, SentinelPassword: Secret(r.RedisSentinelPassword),
		Cluster: l.addresses("REDIS_CLUSTER_ADDRS", r.RedisCluster),
	}
	if r.RedisURL != "" {
		l.redisURL(&out)
	}
	if r.RedisPort != "" {
		out.Port = l.integer("REDIS_PORT", r.RedisPort, 1, math.MaxUint16)
	}
	if r.RedisDB != "" {
		out.DB = l.integer("REDIS_DB", r.RedisDB, 0, math.MaxInt32)
	}
	if r.RedisTLS != "" {
		out.TLS = l.truth("REDIS_TLS", r.RedisTLS)
	}
	if out.Host != "" && !validHost(out.Host) {
		l.refuse("REDIS_HOST", "must be a host name or an address, without scheme and port")
	}
	if r.RedisSentinels != "" && r.RedisMaster == "" {
		l.refuse("REDIS_MASTER_NAME", "must be set where REDIS_SENTINEL_ADDRS is: the name that the Sentinels know the master by")
	}
	l.redisTogether()
	return out
}

func (l *loader) redisURL(r *Redis) {
	store, err := r.Open()
	if err != nil {
		l.refuse("REDIS_URL", "is not valid: "+strings.TrimPrefix(err.Error(), "rediskv: "))
		return
	}
	_ = store.Close()
	if l.set("REDIS_TLS") && strings.HasPrefix(string(r.URL), "redis:") {
		l.refuse("REDIS_URL", "must begin with rediss://, which means TLS, where REDIS_TLS is set")
	}
}

// redisTogether sees that the variables go together. A URL wins over the others, which are often all set where it is.
func (l *loader) redisTogether() {
	ways := slices.DeleteFunc(slices.Clone(redisWays), func(way string) bool { return !l.set(way) })
	url := slices.Contains(ways, "REDIS_URL")
	switch {
	case url && len(ways) > 1:
		l.warn("%s are both set: REDIS_URL is used", strings.Join(ways[:2], " and "))
	case len(ways) > 1:
		l.refuse(ways[1], "and "+ways[0]+" are both set: unset one of them")
	}
	for _, d := range redisDetails {
		switch {
		case !l.set(d.variable) || slices.ContainsFunc(d.ways, l.set):
		case !url:
			l.refuse(d.variable, "is set, but not "+strings.Join(d.ways, " or "))
		case d.variable != "REDIS_TLS":
			l.warn("%s is not used, since REDIS_URL says all", l.name(d.variable))
		}
	}
}

// addresses reads host:port, several of them separated by commas.
func (l *loader) addresses(variable, text string) []string {
	list := split(text)
	for _, one := range list {
		host, port, err := net.SplitHostPort(one)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host == "" || !validHost(host) {
			l.refuse(variable, "must be host:port, several separated by commas")
			return nil
		}
	}
	return list
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return !strings.ContainsAny(host, " \t\r\n/:@?#[]\x00")
}
