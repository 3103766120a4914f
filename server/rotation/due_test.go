package rotation_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/rotation"
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
	s := newSite(t, store, nil, func(o *rotation.Options) { o.Age = rotation.DefaultGrace })
	keystoretest.Put(t, store, keystore.Keysets, "a", []byte("damaged"))
	keystoretest.Put(t, store, keystore.Keysets, "z", []byte("damaged"))
	require.NoError(t, rotation.IndexDue(s.Rotator, t.Context()))
	store.err = errors.New("the store is gone")
	require.ErrorIs(t, rotation.IndexDue(s.Rotator, t.Context()), store.err)
}
