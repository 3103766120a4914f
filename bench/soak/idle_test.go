package soak

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	looks = 500 // measurements of each figure; the median counts
	page  = 100 // tenants of a listing
	used  = 100 // tenants that a server uses while all others are idle
)

// fleet contains a store of keysets and a server that uses it.
type fleet struct {
	n       int
	store   keystore.Store
	ring    *keyring.Keyring
	rotator *rotation.Rotator
	middle  string // cursor of a page in the middle
	made    uint64 // growth of the heap in bytes after every tenant was used once
	serving uint64 // bytes on the heap of a new server that uses a few tenants
}

func newFleet(t *testing.T, n int) *fleet {
	client := redistest.Start(t).Client(t)
	f := &fleet{n: n, store: rediskeys.New(client)}
	before := live()
	maker := open(t, f.store)
	populate(t, maker, n, classify.PHI)
	maker.DrainSealCounts(func(string, format.KeyID, uint64) {}) // as a server does every ten seconds
	f.made = settled() - min(before, settled())
	maker.Close()
	runtime.KeepAlive(maker)
	for range n / 2 / page {
		_, next, err := f.store.Page(t.Context(), keystore.Keysets, f.middle, page)
		require.NoError(t, err)
		f.middle = next
	}

	before = settled()
	f.ring = open(t, f.store)
	f.rotator = rotation.New(rotation.Options{
		Keyring: f.ring, Keystore: f.store, Store: rediskv.New(client), Audit: unrecorded{}, MaxAge: age, MaxUses: 1 << 30,
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		f.rotator.Serve(ctx, slog.Default())
	}()
	populate(t, f.ring, used, classify.PHI)
	for !f.rotator.Stats().Checked {
		time.Sleep(10 * time.Millisecond)
	}
	f.serving = settled() - min(before, settled())
	cancel()
	<-served
	return f
}

// settled returns live after the cleanups of released tenants had time to run.
func settled() uint64 {
	live()
	live()
	return live()
}

// TestIdleTenants compares a store of few tenants with one of many idle tenants. Finding due documents, listing a page and
// the memory of a server must cost the same.
func TestIdleTenants(t *testing.T) {
	n, full := tenantCount(t)
	few := newFleet(t, n/100+2*page)
	many := newFleet(t, n)
	for _, one := range []struct {
		what string
		do   func(f *fleet) error
	}{
		{"A look for due keysets", func(f *fleet) error {
			for _, until := range []int64{time.Now().UnixMilli(), math.MaxInt64} { // the due documents, and the first document that becomes due
				if _, err := f.store.Due(t.Context(), keystore.Keysets, until, 1); err != nil {
					return err
				}
			}
			_, err := f.rotator.RunPending(t.Context())
			return err
		}},
		{fmt.Sprintf("Listing %d tenants", page), func(f *fleet) error {
			documents, _, err := f.ring.DocumentPage(t.Context(), f.middle, page)
			if err == nil && len(documents) != page {
				err = fmt.Errorf("a page of %d", len(documents))
			}
			return err
		}},
	} {
		var inFew, inMany []time.Duration
		for range looks {
			inFew = append(inFew, timed(t, func() error { return one.do(few) }))
			inMany = append(inMany, timed(t, func() error { return one.do(many) }))
		}
		a, b := median(inFew), median(inMany)
		report(t, fmt.Sprintf("%s of %d, against %d", one.what, many.n, few.n), fmt.Sprintf("%s, %.2f times as long", b, b.Seconds()/a.Seconds()))
		if full {
			require.Less(t, b.Seconds()/a.Seconds(), 1.25)
		}
	}
	report(t, fmt.Sprintf("Heap of a server that used %d tenants once, against %d", many.n, few.n), mebibytes(many.made), ", ", mebibytes(few.made))
	report(t, fmt.Sprintf("Heap of a server that uses %d of %d tenants, against %d", used, many.n, few.n), mebibytes(many.serving), ", ", mebibytes(few.serving))
	if full {
		require.Less(t, many.made, few.made+4<<20)
		require.Less(t, many.serving, few.serving+4<<20)
	}
}
