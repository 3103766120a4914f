// Package rediskv implements kv.Store over Redis: a single server, Sentinel or Cluster. It uses go-redis and needs
// Redis 6 or later (for KEEPTTL).
//
// Each call is one command in one round trip, each batch is one pipeline, and values are not copied. Under load, small
// commands of concurrent callers share a round trip: unconditional writes, and reads of at most 128 KiB, by a client of
// a single server that observes deadlines. Such a call may end early, at the deadline of another call that has at least
// one second left.
//
// Keys are used as they are. A program that shares a Redis with others must give its keys a prefix.
//
// The client does not retry conditional writes and deletions when a connection is lost, because a second attempt could
// not distinguish its own first attempt from another client's write. The functions of package kv read back the outcome.
package rediskv

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Store is a kv.Store over a go-redis client. It is safe for concurrent use. It starts no goroutine of its own.
type Store struct {
	client            redis.UniversalClient
	owned             bool
	observesDeadlines bool // the client ends calls at the deadline of their context
	sharesRoundTrips  bool // commands of concurrent callers are sent together
	groups            commandGroups
	closed            atomic.Bool
	parts             atomic.Pointer[map[string]redis.Cmdable] // clients of the masters by the name of their part, as of the last Topology
}

var (
	_ kv.Store       = (*Store)(nil)
	_ kv.SizedWriter = (*Store)(nil)
)

// New returns a store over the caller's client, which Close does not close. The client keeps its time-outs and retries.
// A call returns soon after the deadline of its context, whatever the client's options are. Without
// ContextTimeoutEnabled, each call costs a goroutine, its command occupies a connection until the client's ReadTimeout,
// and an abandoned write may still be made.
func New(client redis.UniversalClient) *Store {
	return &Store{client: client, observesDeadlines: observesDeadlines(client), sharesRoundTrips: canShare(client)}
}

// Results of PTTL, as go-redis returns them.
const (
	pttlMissing   = time.Duration(-2)
	pttlUnlimited = time.Duration(-1)
)

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	if s.closed.Load() {
		return 0, false, errClosed
	}
	left, err := callWithContext(ctx, s, "ttl", func() (time.Duration, error) { return s.client.PTTL(ctx, key).Result() })
	switch {
	case err != nil:
		return 0, false, MapError("ttl", err)
	case left == pttlMissing:
		return 0, false, nil
	case left == pttlUnlimited:
		return 0, true, nil
	}
	// In its last millisecond, Redis reports 0, which would mean that the entry does not expire.
	return max(left, time.Millisecond), true, nil
}

// Ping implements kv.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	if _, err := callWithContext(ctx, s, "ping", func() (string, error) { return s.client.Ping(ctx).Result() }); err != nil {
		return MapError("ping", err)
	}
	return nil
}

// Close closes the client if Open or OpenOptions created it. A client that was passed to New stays open.
func (s *Store) Close() error {
	if s.closed.Swap(true) || !s.owned {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return MapError("close", err)
	}
	return nil
}

// roundUpToMillis rounds a TTL up to whole milliseconds, because go-redis truncates fractions and logs a warning for a
// TTL below one.
func roundUpToMillis(ttl time.Duration) time.Duration {
	fraction := ttl % time.Millisecond
	if fraction == 0 || ttl > math.MaxInt64-time.Millisecond {
		return ttl
	}
	return ttl + time.Millisecond - fraction
}

// Client returns the store's client, for other uses of the same Redis. Close closes it if Open or OpenOptions created
// it.
func (s *Store) Client() redis.UniversalClient { return s.client }
