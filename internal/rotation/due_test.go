package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// smallPageStore is a store whose pages have one document each. If err is set, every page after the first fails.
type smallPageStore struct {
	keystore.Store
	err error
}

func (p *smallPageStore) Page(ctx context.Context, kind keystore.Kind, after string, _ int) ([]keystore.Document, string, error) {
	if after != "" && p.err != nil {
		return nil, "", p.err
	}
	return p.Store.Page(ctx, kind, after, 1)
}

// If the store fails during a repair, the repair fails and is repeated. A damaged keyset does not make it fail, because
// the next repair would find the same damage.
func TestRepairIsRepeatedAfterStoreError(t *testing.T) {
	store := &smallPageStore{Store: keystoretest.NewMemory()}
	s := newSite(t, store, nil, func(o *rotation.Options) { o.MaxAge = rotation.DefaultGrace })
	keystoretest.Put(t, store, keystore.Keysets, "a", []byte("damaged"))
	keystoretest.Put(t, store, keystore.Keysets, "z", []byte("damaged"))
	require.NoError(t, rotation.Repair(s.Rotator, t.Context()))
	store.err = errors.New("the store is gone")
	require.ErrorIs(t, rotation.Repair(s.Rotator, t.Context()), store.err)
}

// writeCounter counts the writes that change a keyset, and those that only set its due time before the last change.
type writeCounter struct {
	keystore.Store
	expected, made, early atomic.Int64
}

func (c *writeCounter) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	switch {
	case kind != keystore.Keysets:
	case !bytes.Equal(old, content):
		c.made.Add(1)
	case c.made.Load() < c.expected.Load():
		c.early.Add(1)
	}
	return c.Store.Swap(ctx, kind, id, old, content, due)
}

// A repair writes no due time that is already right, however many keysets are overdue: each write makes all servers
// read the keyset again.
func TestRepairWritesOnlyWrongDueTimes(t *testing.T) {
	t.Parallel()
	const tenants = 90
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &writeCounter{Store: keystoretest.NewMemory()}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	for i := range tenants {
		tenant, err := s.Keyring.Tenant(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		_, err = tenant.Primary(t.Context(), format.UseFile, classify.PHI)
		require.NoError(t, err)
	}
	s.clock.advance(25 * time.Hour)
	keys.expected.Store(keys.made.Load() + tenants)
	s.serveUntil(func() bool { return keys.made.Load() >= keys.expected.Load() })
	require.Zero(t, keys.early.Load())
}
