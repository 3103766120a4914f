package config

import (
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	// minPassphrase is the shortest passphrase in characters (NIST SP 800-63B section 5.1.1.2).
	minPassphrase    = 8
	maxTimeout       = 24 * time.Hour
	defaultRedisPort = 6379
	maxLimit         = 1_000_000
)

var environmentLabel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (l *loader) check(r *raw) Config {
	return Config{
		Listen:        l.listen(r.Listen),
		Data:          l.data(r.Data),
		Environment:   l.environment(r.Environment),
		MasterKey:     l.masterKey(r.MasterKey),
		KDFIterations: l.iterations(r.KDFIterations),
		Keys:          l.keys(r),
		Redis:         l.redis(r),
		OIDC:          l.oidc(r),
		Origins:       l.origins(r.Origins),
		Proxies:       l.proxies(r.Proxies),
		Audit:         l.audit(r),
		Limits: Limits{
			Rate:       l.integer("COFFER_RATE", r.Rate, 0, maxLimit),
			Burst:      l.integer("COFFER_BURST", r.Burst, 1, maxLimit),
			Concurrent: l.integer("COFFER_CONCURRENT", r.Concurrent, 0, maxLimit),
			Failures:   l.integer("COFFER_TOKEN_FAILURES", r.Failures, 0, maxLimit),
		},
		MaxBody:         int64(l.integer("COFFER_MAX_BODY", r.MaxBody, 1, format.MaxValue)),
		ReadTimeout:     l.timeout("COFFER_READ_TIMEOUT", r.ReadTimeout),
		WriteTimeout:    l.timeout("COFFER_WRITE_TIMEOUT", r.WriteTimeout),
		IdleTimeout:     l.timeout("COFFER_IDLE_TIMEOUT", r.IdleTimeout),
		RequestTimeout:  l.timeout("COFFER_REQUEST_TIMEOUT", r.RequestTimeout),
		ShutdownTimeout: l.timeout("COFFER_SHUTDOWN_TIMEOUT", r.ShutdownTimeout),
	}
}

func (l *loader) listen(text string) string {
	_, port, err := net.SplitHostPort(text)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n > math.MaxUint16 {
		l.refuse("COFFER_LISTEN", "must be host:port, such as 127.0.0.1:8080; port 0 takes a free one")
	}
	return text
}

func (l *loader) data(text string) string {
	if text == "" || strings.ContainsRune(text, 0) {
		l.refuse("COFFER_DATA", "must be the path of a directory")
	}
	return text
}

func (l *loader) environment(text string) string {
	if !environmentLabel.MatchString(text) {
		l.refuse("COFFER_ENVIRONMENT", "must be a label of 1 to 64 lower-case letters, digits and hyphens, such as dev, staging or prod")
	}
	return text
}

func (l *loader) masterKey(text string) Secret {
	switch {
	case text == "" && l.set("ENCRYPTION_MASTER_KEY"):
		l.refuse("ENCRYPTION_MASTER_KEY", "is set but empty: give 32 random bytes as base64 (openssl rand -base64 32), or unset it")
	case text == "":
	case !utf8.ValidString(text):
		l.refuse("ENCRYPTION_MASTER_KEY", "is not valid UTF-8")
	case utf8.RuneCountInString(text) < minPassphrase:
		l.refuse("ENCRYPTION_MASTER_KEY", "is too short: give 32 random bytes as base64 (openssl rand -base64 32), or a passphrase of at least "+
			strconv.Itoa(minPassphrase)+" characters")
	}
	return Secret(text)
}

// iterations raises what is too cheap: a password is only as strong as its cheapest derivation.
func (l *loader) iterations(text string) uint32 {
	n := l.integer("KDF_ITERATIONS", text, 1, classify.Ceiling)
	if n > 0 && n < classify.WriteFloor {
		l.warn("%s is below the least that is written: raised to %d", l.name("KDF_ITERATIONS"), classify.WriteFloor)
		n = classify.WriteFloor
	}
	return uint32(n)
}

func (l *loader) redis(r *raw) Redis {
	out := Redis{URL: Secret(r.RedisURL), Host: r.RedisHost, Port: defaultRedisPort, Password: Secret(r.RedisPassword)}
	if r.RedisURL != "" {
		l.redisURL(&out)
	}
	if r.RedisPort != "" {
		out.Port = l.integer("REDIS_PORT", r.RedisPort, 1, math.MaxUint16)
	}
	if r.RedisDB != "" {
		out.DB = l.integer("REDIS_DB", r.RedisDB, 0, math.MaxInt32)
	}
	if out.Host != "" && !validHost(out.Host) {
		l.refuse("REDIS_HOST", "must be a host name or an address, without scheme and port")
	}
	for _, variable := range []string{"REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"} {
		if l.set(variable) && !out.Configured() {
			l.refuse(variable, "is set, but neither REDIS_HOST nor REDIS_URL is")
		}
	}
	return out
}

func (l *loader) redisURL(r *Redis) {
	store, err := r.Open()
	if err != nil {
		l.refuse("REDIS_URL", "is not valid: "+strings.TrimPrefix(err.Error(), "rediskv: "))
		return
	}
	_ = store.Close()
	if r.Host != "" {
		l.warn("REDIS_URL and REDIS_HOST are both set: REDIS_URL is used")
	}
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return !strings.ContainsAny(host, " \t\r\n/:@?#[]\x00")
}

// integer returns 0 where text is no integer from least to most.
func (l *loader) integer(variable, text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		l.refuse(variable, "must be a whole number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
		return 0
	}
	return n
}

func (l *loader) timeout(variable, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxTimeout {
		l.refuse(variable, "must be a duration above 0 and up to 24h, such as 30s or 2m")
	}
	return d
}
