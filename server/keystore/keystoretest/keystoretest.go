// Package keystoretest is the conformance suite for implementations of keystore.Store. It also has a store in memory
// and one that injects faults, for tests of other packages.
package keystoretest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
)

// Run runs the suite. It calls fresh once for each test, which starts without documents. Each call of the returned
// open yields a store over the same documents, as another process would have it.
func Run(t *testing.T, fresh func(t *testing.T) (open func(t testing.TB) keystore.Store)) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) keystore.Store){
		"swap": swap, "repeated": repeated, "names": names, "all": all, "pages": pages, "contention": contention,
		"many": many, "sizes": sizes, "cancelled": cancelled, "changes": changes, "many changes": manyChanges, "due": due, "due and swap": dueAndSwap,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func get(t testing.TB, s keystore.Store, kind keystore.Kind, name string) []byte {
	t.Helper()
	content, err := s.Get(t.Context(), kind, name)
	require.NoError(t, err)
	return content
}

func swaps(t testing.TB, s keystore.Store, name string, old, document []byte) bool {
	t.Helper()
	swapped, err := s.Swap(t.Context(), keystore.Keysets, name, old, document, 0)
	require.NoError(t, err)
	return swapped
}

func swap(t *testing.T, open func(testing.TB) keystore.Store) {
	a, b := open(t), open(t)
	one, two := []byte("one"), []byte("two")
	require.Nil(t, get(t, a, keystore.Keysets, "x"))
	require.False(t, swaps(t, a, "x", one, two))
	require.True(t, swaps(t, a, "x", nil, one))
	require.False(t, swaps(t, b, "x", nil, two))
	require.False(t, swaps(t, b, "x", two, two))
	require.Equal(t, one, get(t, b, keystore.Keysets, "x"))
	require.True(t, swaps(t, b, "x", one, two))
	require.Equal(t, two, get(t, a, keystore.Keysets, "x"))
	require.False(t, swaps(t, a, "x", one, nil))
	require.True(t, swaps(t, a, "x", two, nil))
	require.Nil(t, get(t, b, keystore.Keysets, "x"))
	require.True(t, swaps(t, b, "x", nil, nil))
}

// If a caller repeats a Swap because it lost the reply, Swap returns true.
func repeated(t *testing.T, open func(testing.TB) keystore.Store) {
	s, one, two := open(t), []byte("one"), []byte("two")
	for range 2 {
		require.True(t, swaps(t, s, "x", nil, one))
	}
	for range 2 {
		require.True(t, swaps(t, s, "x", one, two))
	}
	require.False(t, swaps(t, s, "x", nil, one))
	for range 2 {
		require.True(t, swaps(t, s, "x", two, nil))
	}
	require.False(t, swaps(t, s, "x", one, two))
}

// GetMany returns one document for each name, in the order of names. The content of a missing document is nil.
func many(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	require.True(t, swaps(t, s, "a", nil, []byte("one")))
	require.True(t, swaps(t, s, "", nil, []byte("two")))
	require.Equal(t, []keystore.Document{{Name: "", Content: []byte("two")}, {Name: "none"}, {Name: "a", Content: []byte("one")}},
		keystore.GetMany(t.Context(), s, keystore.Keysets, []string{"", "none", "a"}))
	require.Empty(t, keystore.GetMany(t.Context(), s, keystore.Keysets, nil))
}

// Any text is a name, in each kind.
func names(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	ids := []string{"", "a", "A", "../a", "/etc/a", "a/../b", ".", "..", ".lock", "a\x00b", "\u00e9", "e\u0301", "CON", strings.Repeat("é", keystore.MaxName/2)}
	for i, id := range ids {
		for _, kind := range keystore.Kinds {
			swapped, err := s.Swap(t.Context(), kind, id, nil, fmt.Append(nil, kind, i), 0)
			require.NoError(t, err)
			require.True(t, swapped)
		}
	}
	for i, id := range ids {
		require.Equal(t, fmt.Append(nil, keystore.Rotations, i), get(t, s, keystore.Rotations, id))
	}
	found := map[string]bool{}
	for document, err := range keystore.All(t.Context(), s, keystore.Tokens) {
		require.NoError(t, err)
		found[document.Name] = true
	}
	for _, id := range ids {
		require.True(t, found[id], "%q", id)
	}
	_, err := s.Swap(t.Context(), keystore.Keysets, strings.Repeat("x", keystore.MaxName+1), nil, []byte("x"), 0)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
}

func all(t *testing.T, open func(testing.TB) keystore.Store) {
	s, want := open(t), map[string]bool{}
	for i := range 120 {
		want[fmt.Sprint("document ", i)] = true
		require.True(t, swaps(t, s, fmt.Sprint(i), nil, fmt.Append(nil, "document ", i)))
	}
	require.True(t, swaps(t, s, "gone", nil, []byte("gone")))
	require.True(t, swaps(t, s, "gone", []byte("gone"), nil))
	found := map[string]bool{}
	for document, err := range keystore.All(t.Context(), open(t), keystore.Keysets) {
		require.NoError(t, err)
		require.Equal(t, "document "+document.Name, string(document.Content))
		found[string(document.Content)] = true
	}
	require.Equal(t, want, found)
	for range keystore.All(t.Context(), s, keystore.Sweeps) {
		t.Fatal("another kind's document")
	}
	for range keystore.All(t.Context(), s, keystore.Keysets) {
		break // a caller may stop early
	}
}

// Pages of any size have each document once, in one order, even if the last document of a page is removed and others
// are added between the calls.
func pages(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	for i := range 23 {
		name := strings.Repeat("é/", i%5) + fmt.Sprint(i)
		require.True(t, swaps(t, s, name, nil, fmt.Append(nil, name)))
		_, err := s.Swap(t.Context(), keystore.Rotations, name, nil, []byte("of another kind"), 0)
		require.NoError(t, err)
	}
	list := func(limit int, between func()) (all []string) {
		for after := ""; ; {
			documents, next, err := open(t).Page(t.Context(), keystore.Keysets, after, limit)
			require.NoError(t, err)
			for _, one := range documents {
				all = append(all, string(one.Content))
			}
			if next == "" {
				require.LessOrEqual(t, len(documents), limit)
				return all
			}
			require.LessOrEqual(t, len(documents), limit)
			after = next
			between()
		}
	}
	want := list(100, nil)
	require.Len(t, want, 23)
	for limit := 1; limit <= 24; limit++ {
		require.Equal(t, want, list(limit, func() {}), limit)
	}
	gone := false
	require.Equal(t, want, list(10, func() {
		if !gone {
			require.True(t, swaps(t, s, want[9], []byte(want[9]), nil))
			gone = true
		}
	}))
	n := 0
	seen := map[string]int{}
	for _, one := range list(3, func() {
		n++
		require.True(t, swaps(t, s, fmt.Sprint("new ", n), nil, fmt.Append(nil, "new ", n)))
	}) {
		seen[one]++
		require.Equal(t, 1, seen[one], one)
	}
	require.Empty(t, func() []keystore.Document {
		none, next, err := s.Page(t.Context(), keystore.Sweeps, "", 5)
		require.NoError(t, err)
		require.Empty(t, next)
		return none
	}())
}

// No change is lost if many processes change one document concurrently.
func contention(t *testing.T, open func(testing.TB) keystore.Store) {
	var wg sync.WaitGroup
	var failed atomic.Bool
	for i := range 4 {
		s := open(t)
		wg.Go(func() {
			for done := 0; done < 10; {
				old, err := s.Get(context.Background(), keystore.Keysets, "x")
				swapped := false
				if err == nil {
					swapped, err = s.Swap(context.Background(), keystore.Keysets, "x", old, append(bytes.Clone(old), byte(i), byte(done)), 0)
				}
				if err != nil {
					failed.Store(true)
					return
				}
				if swapped {
					done++
				}
			}
		})
	}
	wg.Wait()
	require.False(t, failed.Load())
	require.Len(t, get(t, open(t), keystore.Keysets, "x"), 80)
}

func sizes(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	largest := bytes.Repeat([]byte{0, 0xff, '\n'}, keystore.MaxDocument/3)
	require.True(t, swaps(t, s, "x", nil, largest))
	require.Equal(t, largest, get(t, s, keystore.Keysets, "x"))
	_, err := s.Swap(t.Context(), keystore.Keysets, "x", largest, make([]byte, keystore.MaxDocument+1), 0)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.Equal(t, largest, get(t, s, keystore.Keysets, "x"))
	_, err = s.Swap(t.Context(), keystore.Keysets, "y", nil, []byte{}, 0)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
}

func cancelled(t *testing.T, open func(testing.TB) keystore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t).Swap(ctx, keystore.Keysets, "x", nil, []byte("document"), 0)
	require.Error(t, err)
	require.Nil(t, get(t, open(t), keystore.Keysets, "x"))
}
