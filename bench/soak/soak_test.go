// Package soak measures costs that must not grow with the number of tenants. By default its tests use small sizes and only
// log their figures. make soak sets large sizes, for which each figure has a bound.
package soak

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	environment = "soak"
	atOnce      = 16  // tenants that are processed concurrently
	unlocked    = 500 // maximum number of tenants in memory
)

// size returns the value of an environment variable and true, or small and false if it is not set. Bounds are checked only
// if it is set.
func size(t *testing.T, name string, small int) (n int, full bool) {
	text := os.Getenv(name)
	if text == "" {
		return small, false
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n, true
}

func tenantCount(t *testing.T) (n int, full bool) { return size(t, "COFFER_SOAK_TENANTS", 300) }

// report logs one line of the table of figures.
func report(t *testing.T, what string, figures ...any) {
	t.Logf("| %s | %s |", what, fmt.Sprint(figures...))
}

type unrecorded struct{}

func (unrecorded) Record(context.Context, ...audit.Event) error { return nil }

func keks(t *testing.T) kms.Set {
	kek, err := kms.Open(t.Context(), "base64key://AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	require.NoError(t, err)
	return kms.NewSet(kek)
}

// open returns a keyring over a store that keeps a few tenants unlocked. Keys are due for rotation after 90 days.
func open(t *testing.T, store keystore.Store) *keyring.Keyring {
	ring, err := keyring.New(store, keks(t), environment, keyring.WithMaxTenants(unlocked), keyring.WithDueTime(rotation.DueTime(age, time.Now)))
	require.NoError(t, err)
	t.Cleanup(ring.Close)
	return ring
}

const age = 90 * 24 * time.Hour

func name(i int) string { return fmt.Sprint("tenant-", i) }

// each calls a function for n tenants, several concurrently.
func each(t *testing.T, n int, do func(i int) error) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	require.NoError(t, g.Wait())
}

// populate creates the keysets of n tenants, with a cache key for each class.
func populate(t *testing.T, ring *keyring.Keyring, n int, classes ...classify.Class) {
	each(t, n, func(i int) error {
		tenant, err := ring.Tenant(t.Context(), name(i))
		for _, class := range classes {
			if err == nil {
				_, err = tenant.Primary(t.Context(), format.UseCache, class)
			}
		}
		return err
	})
}

// timed returns the duration of do.
func timed(t *testing.T, do func() error) time.Duration {
	begun := time.Now()
	require.NoError(t, do())
	return time.Since(begun)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// live returns the bytes on the heap that are in use after a garbage collection.
func live() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// peak returns the maximum number of bytes in use on the heap while do runs.
func peak(t *testing.T, do func() error) (most uint64) {
	done := make(chan error)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			require.NoError(t, err)
			return max(most, live())
		case <-time.After(20 * time.Millisecond):
			most = max(most, live())
		}
	}
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
