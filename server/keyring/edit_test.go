package keyring

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// counted is a store that counts the calls of Swap, and runs a function before one of them.
type counted struct {
	*keystoretest.Memory
	swaps  atomic.Int64
	before func()
}

func (c *counted) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	c.swaps.Add(1)
	if before := c.before; before != nil {
		c.before = nil
		before()
	}
	return c.Memory.Swap(ctx, kind, name, old, document, due)
}

// One Edit replaces the roots, makes drawn keys the primaries and marks the former keys in one write, even if the
// tenant is locked and another process changes the document concurrently.
func TestEditChangesAllInOneWrite(t *testing.T) {
	for _, name := range []string{"unlocked", "locked"} {
		t.Run(name, func(t *testing.T) {
			store := &counted{Memory: keystoretest.NewMemory()}
			r := ringOver(t, store, newFlaky(t))
			tenant, err := r.Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			require.NoError(t, works(tenant))
			former, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
			require.NoError(t, err)
			if name == "locked" {
				tenant.lock()
			}
			other, err := ringOver(t, store.Memory, newFlaky(t)).Tenant(t.Context(), "tenant")
			require.NoError(t, err)
			store.before = func() { _, _ = other.Primary(t.Context(), format.UseFile, classify.PII) }

			key := secret.New()
			calls := 0
			store.swaps.Store(0)
			require.NoError(t, r.Edit(t.Context(), "tenant", func(e *Edit) error {
				calls++
				if err := e.ReplaceRoots(t.Context()); err != nil {
					return err
				}
				if err := e.AddKey(t.Context(), format.UseCache, classify.PHI, key); err != nil {
					return err
				}
				return e.Advance(format.UseCache, classify.PHI, former, envelope.Compromised)
			}))
			require.Equal(t, []any{2, int64(2)}, []any{calls, store.swaps.Load()}, "another process came in between once")
			d, err := r.Document(t.Context(), "tenant")
			require.NoError(t, err)
			require.Equal(t, key.ID(), d.Keyset(format.UseCache, classify.PHI).Primary())
			require.Equal(t, envelope.Compromised, d.Keyset(format.UseCache, classify.PHI).Key(former).State)
			require.NotNil(t, d.Keyset(format.UseFile, classify.PII), "the other process's key")
			require.Len(t, d.Roots(), 1)
			require.EqualValues(t, 2, d.Roots()[0].Generation)
			primary, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
			require.NoError(t, err)
			require.Equal(t, key.ID(), primary)
		})
	}
}

// An Edit that changes nothing or fails writes nothing. A shredded or missing tenant has an error of its own.
func TestEditWritesNothing(t *testing.T) {
	store := &counted{Memory: keystoretest.NewMemory()}
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	require.NoError(t, works(tenant))
	store.swaps.Store(0)
	failed := errors.New("failed")
	none := func(*Edit) error { return nil }
	require.NoError(t, r.Edit(t.Context(), "tenant", none))
	require.ErrorIs(t, r.Edit(t.Context(), "tenant", func(e *Edit) error {
		_ = e.AddKey(t.Context(), format.UseCache, classify.PHI, secret.New())
		return failed
	}), failed)
	require.ErrorIs(t, r.Edit(t.Context(), "nobody", none), ErrNoTenant)
	require.Zero(t, store.swaps.Load())
	require.NoError(t, r.Shred(t.Context(), "tenant"))
	require.ErrorIs(t, r.Edit(t.Context(), "tenant", none), envelope.ErrKeyDestroyed)
}

// An Edit has a known result after every fault of the store: its change is there if and only if it returns no error.
func TestEditWithFaults(t *testing.T) {
	for _, fault := range keystoretest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := keystoretest.NewMemory()
				store := keystoretest.NewFaultyStore(memory, keystoretest.FaultAt(3, fault))
				r := ringOver(t, store, newFlaky(t))
				tenant, err := r.Tenant(t.Context(), "tenant")
				require.NoError(t, err)
				require.NoError(t, works(tenant))
				tenant.lock()
				key := secret.New()
				err = r.Edit(t.Context(), "tenant", func(e *Edit) error { return e.AddKey(t.Context(), format.UseCache, classify.PHI, key) })
				d, readErr := r.Document(t.Context(), "tenant")
				require.NoError(t, readErr)
				require.Equal(t, err == nil, d.Keyset(format.UseCache, classify.PHI).Primary() == key.ID())
				require.Equal(t, fault == keystoretest.FailBefore || fault == keystoretest.Reorder, err != nil)
			})
		})
	}
}

// If another process already made the change, Edit writes nothing, and this process uses the change when Edit
// returns.
func TestEditAdoptsAnExistingChange(t *testing.T) {
	t.Run("key", func(t *testing.T) {
		store := keystoretest.NewMemory()
		r, other := ringOver(t, store, newFlaky(t)), ringOver(t, store, newFlaky(t))
		r.Close() // does not follow changes
		here, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		there, err := other.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(there))
		before := store.Reads()
		require.NoError(t, works(here))
		require.LessOrEqual(t, store.Reads()-before, 3)
	})
	t.Run("shredding", func(t *testing.T) {
		store := keystoretest.NewMemory()
		r, other := ringOver(t, store, newFlaky(t)), ringOver(t, store, newFlaky(t))
		r.Close()
		here, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		require.NoError(t, works(here))
		require.NoError(t, other.Shred(t.Context(), "tenant"))
		require.NoError(t, r.Shred(t.Context(), "tenant"))
		require.ErrorIs(t, works(here), envelope.ErrKeyDestroyed)
	})
}

// overtakenReply is a store that makes a write, lets another process change the document, and loses the reply, once.
type overtakenReply struct {
	*keystoretest.Memory
	follow func()
}

func (o *overtakenReply) Swap(ctx context.Context, kind keystore.Kind, name string, old, document []byte, due int64) (bool, error) {
	swapped, err := o.Memory.Swap(ctx, kind, name, old, document, due)
	if follow := o.follow; follow != nil && err == nil {
		o.follow = nil
		follow()
		return false, keystore.ErrUnavailable
	}
	return swapped, err
}

// If the reply of an Edit is lost, Edit finds its change even if another process has changed the document since.
func TestEditFindsItsChangeAfterALostReply(t *testing.T) {
	store := &overtakenReply{Memory: keystoretest.NewMemory()}
	r := ringOver(t, store, newFlaky(t))
	tenant, err := r.Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	other, err := ringOver(t, store.Memory, newFlaky(t)).Tenant(t.Context(), "tenant")
	require.NoError(t, err)
	store.follow = func() { _, _ = other.Primary(t.Context(), format.UseFile, classify.PII) }
	key := secret.New()
	require.NoError(t, r.Edit(t.Context(), "tenant", func(e *Edit) error { return e.AddKey(t.Context(), format.UseCache, classify.PHI, key) }))
	primary, err := tenant.Primary(t.Context(), format.UseCache, classify.PHI)
	require.NoError(t, err)
	require.Equal(t, key.ID(), primary)
}
