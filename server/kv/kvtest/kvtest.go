// Package kvtest is the conformance suite for drivers of package kv. Run it against a real store, not against a mock:
//
//	func TestConformance(t *testing.T) {
//		kvtest.Run(t, func(t *testing.T) kv.Store { return openEmptyStore(t) })
//	}
//
// RunSweeper checks the optional interface kv.Sweeper. A Faulty store is for tests of programs that use a store.
package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// Run checks that stores fulfill the contract of kv.Store. open returns an empty store, and registers its closing with
// t.Cleanup. Run calls it once for each subtest.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s kv.Store)
	}{
		{"missing keys", missingKeys},
		{"set, get, overwrite, delete", roundTrip},
		{"read a value with a limit", readsWithinLimit},
		{"read values with a limit", readsManyWithinLimit},
		{"values", values},
		{"binary keys", binaryKeys},
		{"buffers are copied", copiesBuffers},
		{"limits", limits},
		{"large value", largeValue},
		{"largest value", largestValue},
		{"ttl", ttl},
		{"ttl counts down", countdown},
		{"expiry is exact", expiry},
		{"expired keys are gone for every method", expired},
		{"overwrite resets ttl", overwriteTTL},
		{"batch order and duplicates", batchOrder},
		{"a value that is written and deleted", appearingValue},
		{"empty batches", emptyBatches},
		{"batch ttl", batchTTL},
		{"large batches", largeBatches},
		{"batches with concurrent writes", contendedBatches},
		{"bad entry fails the whole batch", badEntry},
		{"scan in pages finds every key", scanPages},
		{"scan takes prefixes literally", scanGlob},
		{"scan of all keys and of none", scanEdges},
		{"scan with forged cursors", scanForged},
		{"scan while keys change", scanChanging},
		{"compare and swap", swaps},
		{"compare and swap keeps ttl", swapKeepsTTL},
		{"compare and swap under contention", swapContention},
		{"compare and swap many", swapsMany},
		{"compare and swap many with concurrent writes", contendedSwaps},
		{"set if", setsIf},
		{"set if under contention", setIfContention},
		{"delete if", deletesIf},
		{"expire if", expiresIf},
		{"lost replies", lostReplies},
		{"lost replies of a batch", lostBatches},
		{"lost replies with concurrent writes", lostWithOtherWrites},
		{"counting under faults", countsUnderFaults},
		{"concurrent use", concurrent},
		{"cancelled context", cancelled},
		{"closed", closed},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, open(t)) })
	}
}

// methods returns a call of each method and function of package kv on s.
func methods(s kv.Store) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Get":           func(ctx context.Context) error { _, _, err := kv.Get(ctx, s, "k"); return err },
		"Set":           func(ctx context.Context) error { return kv.Set(ctx, s, "k", []byte("new"), 0) },
		"Delete":        func(ctx context.Context) error { _, err := kv.Delete(ctx, s, "k"); return err },
		"Exists":        func(ctx context.Context) error { _, err := kv.Exists(ctx, s, "k"); return err },
		"TTL":           func(ctx context.Context) error { _, _, err := s.TTL(ctx, "k"); return err },
		"Read":          func(ctx context.Context) error { _, err := s.Read(ctx, []string{"k"}, 1); return err },
		"GetMany":       func(ctx context.Context) error { _, err := kv.GetMany(ctx, s, []string{"k", "l"}); return err },
		"GetManyWithin": func(ctx context.Context) error { _, err := s.Read(ctx, []string{"k", "l"}, 9); return err },
		"SetMany":       func(ctx context.Context) error { return kv.SetMany(ctx, s, []kv.Entry{{Key: "k"}, {Key: "l"}}) },
		"DeleteMany":    func(ctx context.Context) error { _, err := kv.DeleteMany(ctx, s, []string{"k", "l"}); return err },
		"Scan":          func(ctx context.Context) error { _, _, err := s.Scan(ctx, "", "", 0); return err },
		"CompareAndSwap": func(ctx context.Context) error {
			_, err := kv.CompareAndSwap(ctx, s, "k", []byte("v"), nil)
			return err
		},
		"CompareAndSwapMany": func(ctx context.Context) error {
			_, err := kv.SwapMany(ctx, s, []kv.Swap{{Key: "k", Old: []byte("v")}, {Key: "l"}})
			return err
		},
		"SetIf":        func(ctx context.Context) error { _, err := kv.SetIf(ctx, s, "k", []byte("v"), nil, 0); return err },
		"SetIf absent": func(ctx context.Context) error { _, err := kv.SetIf(ctx, s, "k", nil, nil, 0); return err },
		"DeleteIf":     func(ctx context.Context) error { _, err := kv.DeleteIf(ctx, s, "k", []byte("v")); return err },
		"ExpireIf":     func(ctx context.Context) error { _, err := kv.ExpireIf(ctx, s, "k", []byte("v"), 0); return err },
		"Ping":         s.Ping,
	}
}

func mustSet(t *testing.T, s kv.Store, key string, value []byte) {
	t.Helper()
	require.NoError(t, kv.Set(t.Context(), s, key, value, 0))
}

func requireValue(t *testing.T, s kv.Store, key string, want []byte) {
	t.Helper()
	got, ok, err := kv.Get(t.Context(), s, key)
	require.NoError(t, err)
	require.True(t, ok, "the key is missing")
	// require.Equal would print megabytes.
	require.True(t, string(want) == string(got), "the store returned another value of %d bytes", len(got))
}

func requireMissing(t *testing.T, s kv.Store, key string) {
	t.Helper()
	got, ok, err := kv.Get(t.Context(), s, key)
	require.NoError(t, err)
	require.False(t, ok)
	require.Nil(t, got)
}

// randomBytes returns n bytes that cannot be compressed.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func numbered(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%05d", prefix, i)
	}
	return keys
}
