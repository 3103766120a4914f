package rediskv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-storage/coffer/server/kv"
)

// bounded runs call and returns its result, or an error as soon as ctx has ended. go-redis reads a reply without
// regard for the context unless ContextTimeoutEnabled is set, and then heeds only its deadline. Calls of such clients are
// not bounded a second time.
//
// An abandoned call goes on until the client's own time-out. It must not use memory of the caller.
func bounded[T any](ctx context.Context, s *Store, op string, call func() (T, error)) (T, error) {
	if !s.mayAbandon(ctx) {
		value, err := call()
		return value, expired(ctx, err)
	}
	type result struct {
		value T
		err   error
	}
	if err := ctx.Err(); err != nil {
		return *new(T), mapError(op, err)
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return *new(T), mapError(op, ctx.Err())
	}
}

// expired adds context.DeadlineExceeded to the error of a reply that did not arrive before ctx's deadline. The connection has
// the same deadline, and may notice it first.
func expired(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var network net.Error
	deadline, ok := ctx.Deadline()
	if !ok || time.Now().Before(deadline) || !errors.Is(err, kv.ErrLostReply) && !(errors.As(err, &network) && network.Timeout()) {
		return err
	}
	return fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
}

// mayAbandon reports whether bounded may return before the call has ended.
func (s *Store) mayAbandon(ctx context.Context) bool { return !s.timed && ctx.Done() != nil }

// heedsDeadlines reports whether a client is known to end calls with their context's deadline.
func heedsDeadlines(client redis.UniversalClient) bool {
	switch client := client.(type) {
	case *redis.Client:
		return client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return client.Options().ContextTimeoutEnabled
	}
	return false
}

// cloned returns the writes with values of their own: the caller may reuse the memory of an abandoned write.
func cloned(writes []kv.Write) []kv.Write {
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Old, writes[i].Value = slices.Clone(writes[i].Old), slices.Clone(writes[i].Value)
	}
	return writes
}
