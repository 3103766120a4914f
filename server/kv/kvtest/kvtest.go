// Package kvtest is the conformance suite of kv.Store. Every driver runs it, against the real thing:
//
//	kvtest.Run(t, func(t *testing.T) kv.Store { ... })
package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// Run holds the stores that open gives to the contract of kv.Store. Each is to be empty, and to close
// itself at the end of the test that it is opened for.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s kv.Store)
	}{
		{"missing keys", missingKeys},
		{"set, get, overwrite, delete", roundTrip},
		{"a value within a limit", within},
		{"values within a limit", manyWithin},
		{"values", values},
		{"binary keys", binaryKeys},
		{"buffers stay apart", buffers},
		{"limits", limits},
		{"large value", largeValue},
		{"largest value", largestValue},
		{"ttl", ttl},
		{"ttl counts down", countdown},
		{"expiry is exact", expiry},
		{"expired keys are gone for every method", expired},
		{"overwrite resets ttl", overwriteTTL},
		{"batch order and duplicates", batchOrder},
		{"a value that comes and goes", appearing},
		{"empty batches", emptyBatches},
		{"batch ttl", batchTTL},
		{"large batches", largeBatches},
		{"batches amid other writes", contendedBatches},
		{"bad entry fails the whole batch", badEntry},
		{"scan finds every key once it pages", scanPages},
		{"scan takes prefixes literally", scanGlob},
		{"scan of everything and of nothing", scanEdges},
		{"scan with forged cursors", scanForged},
		{"scan while keys change", scanChanging},
		{"compare and swap", swaps},
		{"compare and swap keeps ttl", swapKeepsTTL},
		{"compare and swap under contention", swapContention},
		{"compare and swap many", swapsMany},
		{"compare and swap many amid other writes", contendedSwaps},
		{"set if", setsIf},
		{"set if under contention", setIfContention},
		{"delete if", deletesIf},
		{"expire if", expiresIf},
		{"lost replies", lostReplies},
		{"lost replies of a batch", lostBatches},
		{"lost replies amid other writes", lostAmidOthers},
		{"counting under faults", countsUnderFaults},
		{"concurrent use", concurrent},
		{"cancelled context", cancelled},
		{"closed", closed},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, open(t)) })
	}
}

// methods calls each method of s once and gives its error.
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
	// Not require.Equal: it would print megabytes.
	require.True(t, string(want) == string(got), "another value of %d bytes came back", len(got))
}

func requireMissing(t *testing.T, s kv.Store, key string) {
	t.Helper()
	got, ok, err := kv.Get(t.Context(), s, key)
	require.NoError(t, err)
	require.False(t, ok)
	require.Nil(t, got)
}

// noise gives n bytes that do not compress.
func noise(n int) []byte {
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
