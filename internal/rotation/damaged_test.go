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

// damaged is a keystore in which an announcement of a server cannot be read.
type damaged struct {
	keystore.Store
	on bool
}

func (d *damaged) Page(ctx context.Context, kind keystore.Kind, after string, limit int) ([]keystore.Document, string, error) {
	documents, next, err := d.Store.Page(ctx, kind, after, limit)
	if d.on && kind == keystore.Servers {
		documents = append(documents, keystore.Document{Name: "another server", Err: keystore.ErrUnavailable})
	}
	return documents, next, err
}

// unreadable is a store of which a page of the list is damaged.
type unreadable struct {
	*sqlitekv.Store
	on bool
}

func (u *unreadable) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	if u.on {
		return nil, "", kv.ErrDamaged
	}
	return u.Store.SweepPage(ctx, part, prefix, cursor, limit)
}

// While a part of the list of entries, or an announcement of a server, cannot be read, no sweep is complete and no key is
// destroyed.
func TestDamageKeepsKeys(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(d *damaged, u *unreadable){
		"entries": func(_ *damaged, u *unreadable) { u.on = true },
		"servers": func(d *damaged, _ *unreadable) { d.on = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, inner.Close()) })
			keys, store := &damaged{Store: directory(t, t.TempDir())}, &unreadable{Store: inner}
			s := newSite(t, keys, store, nil)
			s.fill(10)
			s.begin(rotation.Order{})
			damage(keys, store)
			s.clock.pass(30 * time.Hour)
			for range 5 {
				_, _ = s.RunPending(t.Context())
			}
			require.NotEmpty(t, s.sweep().Fault)
			require.Zero(t, s.sweep().LastComplete)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
		})
	}
}
