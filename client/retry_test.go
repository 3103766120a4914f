package client_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/shared/classify"
)

var faults = []string{limited, unavailable, late, cut, lost, half, silence}

// proxiedClients returns a proxy, a client behind it, and a client that connects to the server directly.
func proxiedClients(t *testing.T) (p *proxy, behind, beside *client.Client) {
	p, behind, _, beside = proxiedClientsWithTimeout(t)
	return p, behind, beside
}

// proxiedClientsWithTimeout also returns a client behind the proxy whose attempts time out after a second.
func proxiedClientsWithTimeout(t *testing.T) (p *proxy, behind, withTimeout, beside *client.Client) {
	url, bearer, _ := serve(t)
	p = newProxy(t, url)
	return p, connect(t, p.URL, bearer), connect(t, p.URL, bearer, client.WithTimeout(time.Second)), connect(t, url, bearer)
}

func TestReadIsRetried(t *testing.T) {
	t.Parallel()
	p, behind, withTimeout, beside := proxiedClientsWithTimeout(t)
	value := strings.Repeat("x", 50_000)
	_, err := beside.Set(t.Context(), "k", []byte(value), classify.PHI)
	require.NoError(t, err)
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			p.plan(fault)
			start := time.Now()
			if fault == silence {
				entry, err := withTimeout.Get(t.Context(), "k")
				require.NoError(t, err)
				require.Equal(t, value, string(entry.Value))
				require.GreaterOrEqual(t, len(p.requests()), 2) // more on a slow machine
				return
			}
			entry, err := behind.Get(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, value, string(entry.Value))
			require.Len(t, p.requests(), 2)
			if fault == limited {
				require.GreaterOrEqual(t, time.Since(start), time.Second, "as Retry-After says")
			}
		})
	}
}

func TestOnlyIdempotentRequestsAreRetried(t *testing.T) {
	t.Parallel()
	p, c, beside := proxiedClients(t)
	ctx := t.Context()
	plain := client.Plaintext{Value: []byte("v"), Class: classify.PHI}
	sealed, err := beside.Encrypt(ctx, plain)
	require.NoError(t, err)
	session, err := beside.CreateSession(ctx, struct{}{}, 0)
	require.NoError(t, err)
	set, get := client.SetOperation("k", []byte("v"), classify.PHI, 0, nil), client.GetOperation("k", 0)
	for _, call := range []struct {
		name string
		sent int
		do   func() error
	}{
		{"Set", 2, func() error { _, err := c.Set(ctx, "k", []byte("v"), classify.PHI); return err }},
		{"SetStream", 1, func() error { _, err := c.SetStream(ctx, "k", strings.NewReader("v"), classify.PHI); return err }},
		{"GetStream", 2, func() error {
			stream, _, err := c.GetStream(ctx, "k")
			if err == nil {
				_ = stream.Close()
			}
			return err
		}},
		{"Head", 2, func() error { _, _, err := c.Head(ctx, "k"); return err }},
		{"Expire", 2, func() error { _, err := c.Expire(ctx, "k", time.Minute); return err }},
		{"List", 2, func() (err error) {
			for _, err = range c.List(ctx, "") {
			}
			return err
		}},
		{"Batch of get", 2, func() error { _, err := c.Batch(ctx, []client.Operation{get, get}); return err }},
		{"Batch of set", 2, func() error { _, err := c.Batch(ctx, []client.Operation{set, set}); return err }},
		{"Batch of both", 1, func() error { _, err := c.Batch(ctx, []client.Operation{set, get}); return err }},
		{"Batch of delete", 1, func() error { _, err := c.Batch(ctx, []client.Operation{client.DeleteOperation("none")}); return err }},
		{"Delete", 2, func() error { return c.Delete(ctx, "k") }},
		{"Encrypt", 2, func() error { _, err := c.Encrypt(ctx, plain); return err }},
		{"EncryptBatch", 2, func() error { _, err := c.EncryptBatch(ctx, []client.Plaintext{plain}); return err }},
		{"Decrypt", 2, func() error { _, err := c.Decrypt(ctx, sealed, 0); return err }},
		{"DecryptBatch", 2, func() error { _, err := c.DecryptBatch(ctx, []client.Package{sealed}, 0); return err }},
		{"CreateSession", 1, func() error { _, err := c.CreateSession(ctx, struct{}{}, 0); return err }},
		{"GetSession", 2, func() error { _, err := c.GetSession(ctx, session.ID); return err }},
		{"ExtendSession", 2, func() error { _, err := c.ExtendSession(ctx, session.ID, time.Minute); return err }},
		{"EndSession", 2, func() error { return c.EndSession(ctx, session.ID) }},
	} {
		t.Run(call.name, func(t *testing.T) {
			tried := []string{unavailable}
			if call.sent == 1 {
				tried = []string{limited, unavailable, late, cut, lost}
			}
			for _, fault := range tried {
				p.plan(fault)
				err := call.do()
				require.Equal(t, call.sent == 1, err != nil, "%s: %v", fault, err)
				seen := p.requests()
				require.Len(t, seen, call.sent, fault)
				require.Equal(t, seen[0], seen[len(seen)-1])
			}
		})
	}
}

func TestPermanentErrorsAreNotRetried(t *testing.T) {
	t.Parallel()
	p, c, _ := proxiedClients(t)
	p.plan(unavailable)
	_, err := c.Ready(t.Context())
	require.ErrorContains(t, err, "store_unavailable", "is an answer")
	require.Len(t, p.requests(), 1)
	p.plan(page)
	_, err = c.Get(t.Context(), "k")
	require.ErrorContains(t, err, "is not from a Coffer server")
	require.NotErrorIs(t, err, client.ErrNotFound)
	require.Len(t, p.requests(), 1)
	p.plan(unavailable, unavailable, unavailable, unavailable, unavailable)
	_, err = c.Get(t.Context(), "k")
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, []any{"store_unavailable", 503, "planned"}, []any{failed.Code(), failed.Status, failed.RequestID})
	require.Len(t, p.requests(), 4)
}

// If the first attempt succeeded but its response was lost, the retry does not report a failed condition: a caller that
// acquires a lock must not believe that another caller has it.
func TestRetryDoesNotFailOnItsOwnWrite(t *testing.T) {
	t.Parallel()
	p, c, beside := proxiedClients(t)
	lock := func(fault, value string) error {
		p.plan(fault)
		_, err := c.Set(t.Context(), "lock", []byte(value), classify.PHI, client.IfAbsent())
		require.Len(t, p.requests(), 2)
		return err
	}
	require.ErrorIs(t, lock(lost, "mine"), client.ErrUnreachable)
	entry, err := beside.Get(t.Context(), "lock")
	require.NoError(t, err)
	require.Equal(t, "mine", string(entry.Value))
	require.ErrorIs(t, lock(limited, "other"), client.ErrPrecondition, "the first attempt had no effect")
	p.plan(lost)
	require.NoError(t, c.Delete(t.Context(), "lock"))
	_, err = beside.Get(t.Context(), "lock")
	require.ErrorIs(t, err, client.ErrNotFound)
}

func TestContextEndsCall(t *testing.T) {
	t.Parallel()
	p, c, withTimeout, _ := proxiedClientsWithTimeout(t)
	p.plan(silence)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.Get(ctx, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.LessOrEqual(t, len(p.requests()), 1) // there may be no request on a slow machine

	p.plan(busy) // Retry-After is longer than the context's deadline, so the error is returned at once
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = c.Get(ctx, "k")
	require.ErrorIs(t, err, client.ErrRateLimited)
	require.NoError(t, ctx.Err())

	p.plan(busy)
	reason := errors.New("enough")
	canceled, end := context.WithCancelCause(t.Context())
	go func() {
		for len(p.requests()) == 0 {
			time.Sleep(time.Millisecond)
		}
		end(reason)
	}()
	_, err = c.Get(canceled, "k")
	require.ErrorIs(t, err, reason)
	require.Len(t, p.requests(), 1)

	p.plan(silence)
	_, err = withTimeout.CreateSession(t.Context(), struct{}{}, 0)
	require.ErrorIs(t, err, client.ErrTimeout)
	require.LessOrEqual(t, len(p.requests()), 1)
}

func TestBrokenStreamReturnsError(t *testing.T) {
	t.Parallel()
	p, c, beside := proxiedClients(t)
	_, err := beside.Set(t.Context(), "k", make([]byte, 50_000), classify.PHI)
	require.NoError(t, err)
	p.plan(half)
	stream, _, err := c.GetStream(t.Context(), "k")
	require.NoError(t, err)
	read, err := io.ReadAll(stream)
	require.Error(t, err)
	require.Less(t, len(read), 50_000)
	require.NoError(t, stream.Close())
	require.Len(t, p.requests(), 1)
}
