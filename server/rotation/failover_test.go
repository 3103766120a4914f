package rotation_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/redistest"
	"github.com/coffer-storage/coffer/server/rotation"
)

// failing is a store that fails over in the middle of a scan, of which nobody is told.
type failing struct {
	*rediskv.Store
	over  func()
	pages int // that a scan takes before; 0 is none any more
	begun int // times that somebody went through the keys since
}

func (f *failing) Scan(ctx context.Context, prefix, cursor string, limit int) ([]string, string, error) {
	if f.pages > 0 && cursor != "" {
		if f.pages--; f.pages == 0 {
			f.over()
			f.begun = 0
		}
	}
	if cursor == "" {
		f.begun++
	}
	return f.Store.Scan(ctx, prefix, cursor, limit)
}

// A scan that a failover breaks off in silence is not taken for clean: it begins anew with the server that took over.
func TestScanOverAFailover(t *testing.T) {
	t.Parallel()
	const n = 2000
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	service := redistest.NewService(t, master)
	store := &failing{Store: rediskv.New(service.Client())}
	store.over = func() {
		require.EqualValues(t, 1, master.Client(t).Wait(t.Context(), 1, time.Minute).Val())
		service.FailOver(replica)
	}
	s := newSite(t, directory(t, t.TempDir()), store, nil)
	s.fill(n)
	s.begin(rotation.Order{})
	s.work()
	s.clock.pass(rotation.DefaultGrace + time.Second)
	store.pages = 5 // one of those by which entries are counted, and four of those by which they are gone through
	record := s.work()
	require.Zero(t, store.pages)
	require.Equal(t, 1, store.begun, "anew")
	require.Equal(t, rotation.SecondScan, record.State)
	require.Equal(t, n, record.Counts.Scanned)
	s.reads(n)
}
