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

// callWithContext runs call and returns its result, or an error as soon as ctx ends. It is needed because go-redis
// ignores a context while it reads a reply, unless ContextTimeoutEnabled is set; then it observes the deadline itself,
// and callWithContext calls it directly.
//
// A call that was abandoned continues until the client's own time-out. So it must not use memory of the caller.
func callWithContext[T any](ctx context.Context, s *Store, op string, call func() (T, error)) (T, error) {
	if !s.mayAbandon(ctx) {
		value, err := call()
		return value, addDeadlineExceeded(ctx, err)
	}
	type result struct {
		value T
		err   error
	}
	if err := ctx.Err(); err != nil {
		return *new(T), MapError(op, err)
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
		return *new(T), MapError(op, ctx.Err())
	}
}

// addDeadlineExceeded adds context.DeadlineExceeded to the error of a reply that did not arrive before the deadline of
// ctx. The connection has the same deadline and may notice it before the context does.
func addDeadlineExceeded(ctx context.Context, err error) error {
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

// mayAbandon reports whether callWithContext may return before the call has ended.
func (s *Store) mayAbandon(ctx context.Context) bool {
	return !s.observesDeadlines && ctx.Done() != nil
}

// observesDeadlines reports whether a client ends calls at the deadline of their context.
func observesDeadlines(client redis.UniversalClient) bool {
	switch client := client.(type) {
	case *redis.Client:
		return client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return client.Options().ContextTimeoutEnabled
	}
	return false
}

// cloneWrites copies writes together with their values, because the caller may reuse the memory of an abandoned write.
func cloneWrites(writes []kv.Write) []kv.Write {
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Old, writes[i].Value = slices.Clone(writes[i].Old), slices.Clone(writes[i].Value)
	}
	return writes
}
