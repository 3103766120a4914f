package rediskv

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// The defaults of Open. A stopped server fails a call within about a second. A server that does not respond fails it
// after at most (maxRetries + 1) x ioTimeout, or at the deadline of its context.
const (
	dialTimeout = 3 * time.Second
	ioTimeout   = 5 * time.Second
	maxRetries  = 1
	dialTries   = 2
)

// Errors of Open. They never contain the URL or the error of go-redis, because both can contain the password.
var (
	errURL    = errors.New("rediskv: the Redis URL cannot be parsed; expected redis://user:password@host:port/database, with special characters percent-encoded")
	errScheme = errors.New("rediskv: the Redis URL must begin with redis://, rediss:// (TLS) or unix://")
	errOption = errors.New("rediskv: the Redis URL's path or query is wrong; expected /database and options that go-redis knows")
)

// Open returns a store for a URL such as redis://:password@127.0.0.1:6379/0. The scheme rediss:// means TLS, and
// unix:// a socket. Open does not connect: call Ping to do that. The store has a client of its own, which Close closes.
func Open(rawURL string) (*Store, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return nil, errURL
	}
	if !slices.Contains([]string{"redis", "rediss", "unix"}, parsed.Scheme) {
		return nil, errScheme
	}
	opt, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, errOption
	}
	opt.ContextTimeoutEnabled = true
	setDefaults(&opt.DialTimeout, &opt.ReadTimeout, &opt.MaxRetries, &opt.DialerRetries)
	return newOwned(redis.NewClient(opt)), nil
}

// OpenOptions is Open with the options of go-redis, for example for Sentinel (MasterName) or Cluster (several
// addresses). It applies Open's time-outs and retries where the options are zero.
func OpenOptions(opt redis.UniversalOptions) *Store {
	opt.ContextTimeoutEnabled = true
	setDefaults(&opt.DialTimeout, &opt.ReadTimeout, &opt.MaxRetries, &opt.DialerRetries)
	return newOwned(redis.NewUniversalClient(&opt))
}

// newOwned returns a store that closes its client.
func newOwned(client redis.UniversalClient) *Store {
	s := New(client)
	s.owned = true
	return s
}

func setDefaults(dial, read *time.Duration, retries, dials *int) {
	if *dial == 0 {
		*dial = dialTimeout
	}
	if *read == 0 {
		*read = ioTimeout // go-redis uses it as the write time-out, too
	}
	if *retries == 0 {
		*retries = maxRetries
	}
	if *dials == 0 {
		*dials = dialTries
	}
}
