package rotation_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// panickingStore is a store that panics in one of its methods.
type panickingStore struct {
	*sqlitekv.Store
	in string
}

func (p *panickingStore) panicIn(method string) {
	if p.in == method {
		panic("a value of the store")
	}
}

func (p *panickingStore) SweepPage(ctx context.Context, part, prefix, cursor string, limit int) ([]string, string, error) {
	p.panicIn("SweepPage")
	return p.Store.SweepPage(ctx, part, prefix, cursor, limit)
}

func (p *panickingStore) Topology(ctx context.Context) (kv.Topology, error) {
	p.panicIn("Topology")
	return p.Store.Topology(ctx)
}

func (p *panickingStore) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	p.panicIn("Read")
	return p.Store.Read(ctx, keys, limit)
}

func (p *panickingStore) Write(ctx context.Context, writes []kv.Write) ([]bool, error) {
	p.panicIn("Write")
	return p.Store.Write(ctx, writes)
}

// A panic during a sweep becomes an error without the panic's value. The sweep is incomplete and no key is destroyed.
func TestPanicMakesSweepIncomplete(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"SweepPage", "Topology", "Read", "Write"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			inner, err := sqlitekv.Open(t.TempDir(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, inner.Close()) })
			store := &panickingStore{Store: inner}
			s := newSite(t, directory(t, t.TempDir()), store, nil)
			s.fill(10)
			s.begin(rotation.Order{})
			store.in = method
			s.clock.advance(30 * time.Hour)
			failed := false
			for range 5 {
				_, err := s.RunPending(t.Context())
				if failed = failed || err != nil; err != nil {
					require.ErrorContains(t, err, "rotation: panic at github.com/coffer-storage/coffer/internal/rotation_test.(*panickingStore).panicIn:")
					require.NotContains(t, err.Error(), "a value of the store")
				}
			}
			require.True(t, failed)
			require.Zero(t, s.sweep().LastComplete)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: 2 * classes}, s.states(format.UseCache))
		})
	}
}
