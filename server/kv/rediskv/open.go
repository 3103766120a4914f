package rediskv

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// What Open waits for: a stopped server fails a call within a second or so, a silent one within
// (maxRetries + 1) x ioTimeout at the latest, or at the context's deadline.
const (
	dialTimeout = 3 * time.Second
	ioTimeout   = 5 * time.Second
	maxRetries  = 1
	dialTries   = 2
)

// Errors of Open. The URL is never quoted, nor is go-redis' own error: either can hold the password.
var (
	errURL    = errors.New("rediskv: the Redis URL cannot be parsed; expected redis://user:password@host:port/database, with special characters percent-encoded")
	errScheme = errors.New("rediskv: the Redis URL must begin with redis://, rediss:// (TLS) or unix://")
	errOption = errors.New("rediskv: the Redis URL's path or query is wrong; expected /database and options that go-redis knows")
)

// Open makes a store over a client of its own from a URL, such as redis://:password@127.0.0.1:6379/0;
// rediss:// means TLS, unix:// a socket. It does not connect: Ping does.
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
	return own(redis.NewClient(opt)), nil
}

// OpenOptions is Open for Sentinel (MasterName), Cluster (several addresses) and what else go-redis' options
// can say. The time-outs and retries that are left at zero are Open's.
func OpenOptions(opt redis.UniversalOptions) *Store {
	opt.ContextTimeoutEnabled = true
	setDefaults(&opt.DialTimeout, &opt.ReadTimeout, &opt.MaxRetries, &opt.DialerRetries)
	return own(redis.NewUniversalClient(&opt))
}

// own makes a store that closes its client.
func own(client redis.UniversalClient) *Store {
	s := New(client)
	s.owned = true
	return s
}

func setDefaults(dial, read *time.Duration, retries, dials *int) {
	if *dial == 0 {
		*dial = dialTimeout
	}
	if *read == 0 {
		*read = ioTimeout // go-redis takes it for writing too
	}
	if *retries == 0 {
		*retries = maxRetries
	}
	if *dials == 0 {
		*dials = dialTries
	}
}
