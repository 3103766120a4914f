// Package keystoretest is the suite that every keystore.Store passes.
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

// Run runs the suite. Each call of open gives a store over the same documents, as another process has, and a
// new test begins with none.
func Run(t *testing.T, fresh func(t *testing.T) (open func(t testing.TB) keystore.Store)) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) keystore.Store){
		"swap": swap, "names": names, "all": all, "pages": pages, "generation": generation, "contention": contention, "sizes": sizes, "cancelled": cancelled,
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
	swapped, err := s.Swap(t.Context(), keystore.Keysets, name, old, document)
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

// Any text is a name of its own, in each kind.
func names(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	ids := []string{"a", "A", "../a", "/etc/a", "a/../b", ".", "..", ".lock", "a\x00b", "\u00e9", "e\u0301", "CON", strings.Repeat("é", 127)}
	for i, id := range ids {
		for _, kind := range []keystore.Kind{keystore.Keysets, keystore.Rotations, keystore.Leases} {
			swapped, err := s.Swap(t.Context(), kind, id, nil, fmt.Append(nil, kind, i))
			require.NoError(t, err)
			require.True(t, swapped)
		}
	}
	for i, id := range ids {
		require.Equal(t, fmt.Append(nil, keystore.Rotations, i), get(t, s, keystore.Rotations, id))
	}
}

func all(t *testing.T, open func(testing.TB) keystore.Store) {
	s, want := open(t), map[string]bool{}
	for i := range 20 {
		want[fmt.Sprint("document ", i)] = true
		require.True(t, swaps(t, s, fmt.Sprint(i), nil, fmt.Append(nil, "document ", i)))
	}
	require.True(t, swaps(t, s, "gone", nil, []byte("gone")))
	require.True(t, swaps(t, s, "gone", []byte("gone"), nil))
	found := map[string]bool{}
	for content, err := range open(t).All(t.Context(), keystore.Keysets) {
		require.NoError(t, err)
		found[string(content)] = true
	}
	require.Equal(t, want, found)
	for range s.All(t.Context(), keystore.Leases) {
		t.Fatal("another kind's document")
	}
	for range s.All(t.Context(), keystore.Keysets) {
		break // who has seen enough may stop
	}
}

// Page by page of any size each document is there once, in one order, also where the one that a page ended
// with is gone, and where others come.
func pages(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	for i := range 23 {
		name := strings.Repeat("é/", i%5) + fmt.Sprint(i)
		require.True(t, swaps(t, s, name, nil, fmt.Append(nil, name)))
		_, err := s.Swap(t.Context(), keystore.Rotations, name, nil, []byte("of another kind"))
		require.NoError(t, err)
	}
	list := func(limit int, between func()) (all []string) {
		for after := ""; ; {
			documents, next, err := open(t).Page(t.Context(), keystore.Keysets, after, limit)
			require.NoError(t, err)
			for _, one := range documents {
				all = append(all, string(one))
			}
			if next == "" {
				require.LessOrEqual(t, len(documents), limit)
				return all
			}
			require.Len(t, documents, limit)
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
	require.Empty(t, func() [][]byte {
		none, next, err := s.Page(t.Context(), keystore.Leases, "", 5)
		require.NoError(t, err)
		require.Empty(t, next)
		return none
	}())
}

// Every change is another generation, however quickly it follows; of other kinds it is none.
func generation(t *testing.T, open func(testing.TB) keystore.Store) {
	a, b := open(t), open(t)
	of := func(kind keystore.Kind) string {
		g, err := b.Generation(t.Context(), kind)
		require.NoError(t, err)
		return g
	}
	var old []byte
	for i := range 20 {
		before := of(keystore.Keysets)
		next := fmt.Append(nil, i)
		require.True(t, swaps(t, a, "x", old, next))
		require.NotEqual(t, before, of(keystore.Keysets))
		old = next
	}
	before := of(keystore.Keysets)
	require.Eventually(t, func() bool { // it may count on for a while after the last change
		last := before
		before = of(keystore.Keysets)
		return before == last
	}, 5e9, 1e7)
	_, err := a.Swap(t.Context(), keystore.Leases, "x", nil, []byte("lease"))
	require.NoError(t, err)
	require.Equal(t, before, of(keystore.Keysets))
}

// Of many who change one document at once, none's change is lost.
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
					swapped, err = s.Swap(context.Background(), keystore.Keysets, "x", old, append(bytes.Clone(old), byte(i)))
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
	require.Len(t, get(t, open(t), keystore.Keysets, "x"), 40)
}

func sizes(t *testing.T, open func(testing.TB) keystore.Store) {
	s := open(t)
	largest := bytes.Repeat([]byte{0, 0xff, '\n'}, keystore.MaxDocument/3)
	require.True(t, swaps(t, s, "x", nil, largest))
	require.Equal(t, largest, get(t, s, keystore.Keysets, "x"))
	_, err := s.Swap(t.Context(), keystore.Keysets, "x", largest, make([]byte, keystore.MaxDocument+1))
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.Equal(t, largest, get(t, s, keystore.Keysets, "x"))
}

func cancelled(t *testing.T, open func(testing.TB) keystore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t).Swap(ctx, keystore.Keysets, "x", nil, []byte("document"))
	require.Error(t, err)
	require.Nil(t, get(t, open(t), keystore.Keysets, "x"))
}
