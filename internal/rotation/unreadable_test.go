package rotation_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// damagedKeystore is a keystore in which an announcement cannot be read.
type damagedKeystore struct {
	keystore.Store
	on bool
}

func (d *damagedKeystore) Page(ctx context.Context, kind keystore.Kind, after string, limit int) ([]keystore.Document, string, error) {
	documents, next, err := d.Store.Page(ctx, kind, after, limit)
	if d.on && kind == keystore.Servers {
		documents = append(documents, keystore.Document{Name: "another server", Err: keystore.ErrUnavailable})
	}
	return documents, next, err
}

// damagedCache is a store in which one page of the list is damaged.
type damagedCache struct {
	*sqlitekv.Store
	on bool
}

func (u *damagedCache) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if u.on {
		return nil, "", kv.ErrDamaged
	}
	return u.Store.SweepPage(ctx, part, prefix, cursor, limit)
}

// While a page of the entries or an announcement of a server cannot be read, no sweep is complete and no key is
// destroyed.
func TestUnreadableDocumentsPreventDestruction(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(d *damagedKeystore, u *damagedCache){
		"entries": func(_ *damagedKeystore, u *damagedCache) { u.on = true },
		"servers": func(d *damagedKeystore, _ *damagedCache) { d.on = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, inner.Close()) })
			keys, store := &damagedKeystore{Store: directory(t, t.TempDir())}, &damagedCache{Store: inner}
			s := newSite(t, keys, store, nil)
			s.fill(10)
			s.begin(rotation.Order{})
			damage(keys, store)
			s.clock.advance(30 * time.Hour)
			for range 5 {
				_, _ = s.RunPending(t.Context())
			}
			require.NotEmpty(t, s.sweep().Fault)
			require.Zero(t, s.sweep().LastComplete)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
		})
	}
}
