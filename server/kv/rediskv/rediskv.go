// Package rediskv is the kv.Store over Redis: one server, Sentinel or Cluster, by go-redis.
//
// Each call is one command in one round trip, each batch one pipeline, and values go through uncopied. Under load, small commands of
// several callers share a round trip: an unconditional write, or a read of up to 128 KiB, of a client for a single server that heeds
// deadlines. Such a call may end a little early, at the deadline of another one with a second left at least. Redis 6
// or later is needed (KEEPTTL). Keys are used as they are given; a caller who shares a Redis with
// other programs gives them a prefix.
//
// The client does not retry a conditional write or a deletion whose connection is lost: a second attempt could not tell
// the effect of the first one from another client's. kv.Apply reads back what became of it.
package rediskv

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// Store is a kv.Store over a go-redis client.
type Store struct {
	client redis.UniversalClient
	owned  bool
	timed  bool // the client heeds the deadline of a call's context
	shares bool // commands of several callers are put together
	groups groups
	closed atomic.Bool
	parts  atomic.Pointer[map[string]redis.Cmdable] // the masters by the name of their part, as of the last Topology
}

var (
	_ kv.Store       = (*Store)(nil)
	_ kv.SizedWriter = (*Store)(nil)
)

// New wraps the caller's client, which Close leaves open. Its time-outs and retries are the caller's. A call returns
// soon after the deadline of its context, whatever the options of the client are. If ContextTimeoutEnabled is not set, each
// call costs a goroutine, and the command then occupies a connection until the client's ReadTimeout; a write that was
// abandoned so may still be made.
func New(client redis.UniversalClient) *Store {
	return &Store{client: client, timed: heedsDeadlines(client), shares: mayShare(client)}
}

// What PTTL answers, as go-redis gives it.
const (
	pttlMissing   = time.Duration(-2)
	pttlUnlimited = time.Duration(-1)
)

// TTL implements kv.Store.
func (s *Store) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	if s.closed.Load() {
		return 0, false, errClosed
	}
	left, err := bounded(ctx, s, "ttl", func() (time.Duration, error) { return s.client.PTTL(ctx, key).Result() })
	switch {
	case err != nil:
		return 0, false, mapError("ttl", err)
	case left == pttlMissing:
		return 0, false, nil
	case left == pttlUnlimited:
		return 0, true, nil
	}
	// In its last millisecond Redis says 0, which would read as "no limit".
	return max(left, time.Millisecond), true, nil
}

// Ping implements kv.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	if _, err := bounded(ctx, s, "ping", func() (string, error) { return s.client.Ping(ctx).Result() }); err != nil {
		return mapError("ping", err)
	}
	return nil
}

// Close ends the client if Open made it; a client given to New stays open.
func (s *Store) Close() error {
	if s.closed.Swap(true) || !s.owned {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return mapError("close", err)
	}
	return nil
}

// wholeMillis rounds up: go-redis would log a shorter TTL and cut off a fraction.
func wholeMillis(ttl time.Duration) time.Duration {
	rest := ttl % time.Millisecond
	if rest == 0 || ttl > math.MaxInt64-time.Millisecond {
		return ttl
	}
	return ttl + time.Millisecond - rest
}
