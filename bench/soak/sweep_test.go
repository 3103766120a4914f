package soak

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

const (
	filled = classify.PHI // the class of all entries
	empty  = classify.PII // a class with keys and without entries: rotating it reseals nothing
	rounds = 2
)

// A sweep is nearly as fast as a plain loop of SCAN and GET over the same entries. Rotating all tenants takes about as long
// as rotating one.
func TestSweep(t *testing.T) {
	n, full := tenantCount(t)
	entries, _ := size(t, "COFFER_SOAK_ENTRIES", 100*n)
	server := redistest.Start(t)
	client := server.Client(t)
	keys, store := rediskeys.New(client), rediskv.New(client)
	ring := open(t, keys)
	began := time.Now()
	populate(t, ring, n, filled, empty)
	t.Logf("made %d tenants in %s", n, time.Since(began))
	began = time.Now()
	each(t, n, func(i int) error {
		tenant, err := ring.Tenant(t.Context(), name(i))
		if err != nil {
			return err
		}
		items := make([]cache.Item, entries/n)
		for j := range items {
			items[j] = cache.Item{Key: fmt.Sprint("entry-", j), Value: make([]byte, 32), Class: filled}
		}
		return cache.New(store, seal.NewSealer(tenant), cache.WithMaxTTL(filled, 24*time.Hour)).SetMany(t.Context(), items)
	})
	entries = entries / n * n
	t.Logf("wrote %d entries in %s", entries, time.Since(began))

	rotator := rotation.New(rotation.Options{
		Keyring: ring, Keystore: keys, Store: store, Audit: unrecorded{}, Grace: rotation.DefaultGrace,
	})
	loop := time.Duration(math.MaxInt64)
	// rotate returns the shortest duration of a sweep for a number of tenants over a few rounds. Each round starts with a plain
	// loop.
	rotate := func(tenants int) time.Duration {
		least := time.Duration(math.MaxInt64)
		for range rounds {
			plainly := timed(t, func() error { return plain(t.Context(), client, entries) })
			began := time.Now()
			each(t, tenants, func(i int) error {
				_, err := rotator.Begin(t.Context(), name(i), rotation.Order{Class: empty})
				return err
			})
			begun := time.Now()
			sweep := finish(t, rotator)
			took := time.Since(begun)
			t.Logf("a plain loop took %s; %d tenants: begun in %s, swept in %s", plainly, tenants, begun.Sub(began), took)
			require.Equal(t, entries, sweep.Complete[0].Scanned)
			require.Equal(t, tenants, sweep.States[rotation.Grace])
			loop, least = min(loop, plainly), min(least, took)
		}
		return least
	}
	one, all := rotate(1), rotate(n)
	rate, ratio := loop.Seconds()/one.Seconds(), all.Seconds()/one.Seconds()
	report(t, fmt.Sprintf("A sweep of %d entries of %d tenants, against SCAN and pipelined GET", entries, n),
		fmt.Sprintf("%.0f entries/s, %.2f of the loop's rate", float64(entries)/one.Seconds(), rate))
	report(t, fmt.Sprintf("A sweep for the rotations of %d tenants, against one", n), fmt.Sprintf("%.2f times as long", ratio))
	if full {
		require.GreaterOrEqual(t, rate, 0.8)
		require.LessOrEqual(t, ratio, 1.1)
	}
}

// finish works until the given sweep ends.
func finish(t *testing.T, rotator *rotation.Rotator) *rotation.Sweep {
	for {
		_, err := rotator.RunPending(t.Context())
		require.NoError(t, err)
		sweep, err := rotator.CurrentSweep(t.Context())
		require.NoError(t, err)
		require.Empty(t, sweep.Fault)
		if !sweep.Running() && sweep.Number >= sweep.Requested {
			return sweep
		}
	}
}

// plain reads all entries with pages of SCAN, each followed by one pipeline of GET.
func plain(ctx context.Context, client *redis.Client, want int) error {
	read := 0
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, kv.TenantPrefix+"*", 1000).Result()
		if err != nil {
			return err
		}
		pipe := client.Pipeline()
		values := make([]*redis.StringCmd, len(keys))
		for i, key := range keys {
			values[i] = pipe.Get(ctx, key)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for _, value := range values {
			if len(value.Val()) > 0 {
				read++
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	if read != want {
		return fmt.Errorf("read %d entries of %d", read, want)
	}
	return nil
}
