package keyring

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// After any sequence of changes, a document contains all of its earlier states: a merge with one of them changes
// nothing.
func TestDocumentsOnlyGainRecords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		store := keystoretest.NewMemory()
		general, phi := localKEK(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), localKEK(t, "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
		set := kms.NewSet(general)
		if round%2 == 0 {
			set = set.With(classify.PHI, phi)
		}
		r, err := New(store, set, "test")
		require.NoError(t, err)
		tenant, err := r.Tenant(t.Context(), "tenant")
		require.NoError(t, err)
		all := roots{}
		var states [][]byte
		var names []string
		checkContains := func(name string) {
			maps.Copy(all, tenant.openedRoots())
			states, names = append(states, contentOf(t, store, "tenant")), append(names, name)
			now, err := r.parse("tenant", states[len(states)-1])
			require.NoError(t, err)
			for i, earlier := range states {
				was, err := r.parse("tenant", earlier)
				require.NoError(t, err)
				merged, err := r.merge(t.Context(), was, now, all)
				require.NoError(t, err, names)
				whole, err := merged.Append(nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(whole, states[len(states)-1]), "round %d: %d: %v", round, i, names)
			}
		}
		checkContains("begin")
		for range 12 {
			use, class := format.UseCache, [2]classify.Class{classify.PII, classify.PHI}[rnd.IntN(2)]
			key := func(e *Edit) (format.KeyID, bool) {
				s := e.Keyset(use, class)
				if s == nil {
					return format.KeyID{}, false
				}
				return s.Keys[rnd.IntN(len(s.Keys))].ID, true
			}
			name, change := "", func(e *Edit) error { return nil }
			switch rnd.IntN(7) {
			case 0, 1:
				name, change = "rotate", func(e *Edit) error { _, err := e.newKey(t.Context(), use, class); return err }
			case 2:
				to := envelope.State(2 + rnd.IntN(3))
				name, change = "advance to "+to.String(), func(e *Edit) error {
					if id, ok := key(e); ok {
						_ = e.Advance(use, class, id, to)
					}
					return nil
				}
			case 3:
				name, change = "promote", func(e *Edit) error {
					if id, ok := key(e); ok {
						_ = e.Promote(use, class, id)
					}
					return nil
				}
			case 4:
				name, change = "replace", func(e *Edit) error { return e.ReplaceRoots(t.Context()) }
			case 5:
				name, change = "wrap", func(e *Edit) error {
					root := e.Roots()[rnd.IntN(len(e.Roots()))]
					return e.WrapRoot(t.Context(), root, e.opened[root].kek)
				}
			case 6:
				if rnd.IntN(8) > 0 {
					continue
				}
				require.NoError(t, r.Shred(t.Context(), "tenant"))
				checkContains("shred")
				continue
			}
			err := r.Edit(t.Context(), "tenant", change)
			if err == envelope.ErrKeyDestroyed {
				break
			}
			require.NoError(t, err)
			checkContains(name)
		}
		r.Close()
	}
}
