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

// paged is a store whose pages have one document each, and fail from the second on if err is set.
type paged struct {
	keystore.Store
	err error
}

func (p *paged) Page(ctx context.Context, kind keystore.Kind, after string, _ int) ([]keystore.Document, string, error) {
	if after != "" && p.err != nil {
		return nil, "", p.err
	}
	return p.Store.Page(ctx, kind, after, 1)
}

// A check of the index that the store broke off has failed, so that the next look repeats it. One that met a damaged keyset has not:
// the keyset would be damaged at the next look, too.
func TestIndexBrokenOff(t *testing.T) {
	store := &paged{Store: keystoretest.NewMemory()}
	s := newSite(t, store, nil, func(o *rotation.Options) { o.MaxAge = rotation.DefaultGrace })
	keystoretest.Put(t, store, keystore.Keysets, "a", []byte("damaged"))
	keystoretest.Put(t, store, keystore.Keysets, "z", []byte("damaged"))
	require.NoError(t, rotation.Repair(s.Rotator, t.Context()))
	store.err = errors.New("the store is gone")
	require.ErrorIs(t, rotation.Repair(s.Rotator, t.Context()), store.err)
}

// changes counts the writes that change a keyset, and those before the last of some changes that write it as it is, for its due time.
type changes struct {
	keystore.Store
	wanted, made, early atomic.Int64
}

func (c *changes) Swap(ctx context.Context, kind keystore.Kind, id string, old, content []byte, due int64) (bool, error) {
	switch {
	case kind != keystore.Keysets:
	case !bytes.Equal(old, content):
		c.made.Add(1)
	case c.made.Load() < c.wanted.Load():
		c.early.Add(1)
	}
	return c.Store.Swap(ctx, kind, id, old, content, due)
}

// A server that starts corrects no due times that are right, however many keysets are overdue: all servers read a keyset again after
// each write.
func TestRightDueTimesAreNotWritten(t *testing.T) {
	t.Parallel()
	const tenants = 90
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	keys := &changes{Store: keystoretest.NewMemory()}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.MaxAge = 24 * time.Hour })
	for i := range tenants {
		tenant, err := s.Keyring.Tenant(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		_, err = tenant.Primary(format.UseFile, classify.PHI)
		require.NoError(t, err)
	}
	s.clock.pass(25 * time.Hour)
	keys.wanted.Store(keys.made.Load() + tenants)
	s.serve(func() bool { return keys.made.Load() >= keys.wanted.Load() })
	require.Zero(t, keys.early.Load())
}
