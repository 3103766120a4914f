package vectors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

func TestDocumentsRoundTripAndUnlock(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Documents {
		t.Run(v.Name, func(t *testing.T) { checkDocument(t, v) })
	}
}

// checkDocument opens a document with each of its secrets and compares all its contents.
func checkDocument(t *testing.T, v vectors.Document) {
	d, err := envelope.ParseDocument(v.Bytes)
	require.NoError(t, err)
	again, err := d.Append(nil)
	require.NoError(t, err)
	require.Equal(t, []byte(v.Bytes), again)
	require.Equal(t, v.Environment, d.Environment)
	require.Equal(t, v.Owner, d.Owner)
	require.Len(t, d.Slots, len(v.Slots))
	require.Len(t, d.Retired, len(v.Retired))
	require.Len(t, d.Shreds, len(v.Shreds))
	require.Len(t, d.Keysets, len(v.Keysets))
	for i, one := range v.Retired {
		r := &d.Retired[i]
		require.Equal(t, one, vectors.Retired{ID: r.ID[:], Line: r.Root.Line[:], Generation: r.Root.Generation, RootID: r.Root.ID[:]})
	}
	for i, one := range v.Shreds {
		require.Equal(t, one, vectors.Shred{Line: d.Shreds[i].Line[:], ShreddedAt: d.Shreds[i].ShreddedAt})
	}
	roots := rootsOf(v)
	for i := range v.Slots {
		checkSlot(t, v.Slots[i], &d.Slots[i], d.RootBinding(d.Slots[i].Root))
		if v.Slots[i].Secret != nil {
			opened, err := openRoots(d, *v.Slots[i].Secret, v.ShredKey)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Slots[i].Root), opened[d.Slots[i].Root])
		}
	}
	require.NoError(t, d.Verify(plain.Authenticator(roots, v.ShredKey)))
	for i := range v.Keysets {
		checkKeyset(t, v.Keysets[i], d, &d.Keysets[i], roots)
	}
}

func checkSlot(t *testing.T, v vectors.Slot, s *envelope.Slot, binding envelope.Binding) {
	require.Equal(t, v, vectors.Slot{
		ID: s.ID[:], Kind: uint8(s.Kind), CreatedAt: s.CreatedAt, Iterations: s.Iterations, URL: s.URL, Parameters: append([]byte{}, s.Parameters...),
		Line: s.Root.Line[:], Generation: s.Root.Generation, KeyID: s.KeyID[:], RootID: s.Root.ID[:], Secret: v.Secret, Key: v.Key, Root: v.Root,
	})
	if v.Root == nil {
		return
	}
	var root []byte
	var err error
	if v.Secret != nil {
		root, err = openSlot(s, binding, *v.Secret)
	} else {
		require.Equal(t, s.KeyID, plain.KeyID(v.Key))
		root, err = plain.Unwrap(v.Key, binding, s.Wrapped)
	}
	require.NoError(t, err)
	require.Equal(t, []byte(v.Root), root)
}

// opened returns the part of a document that a reader with these roots can verify.
func opened(d *envelope.Document, roots plain.Roots) *envelope.Document {
	return d.OnlyUnder(func(root envelope.Root) bool { return roots[root] != nil })
}

func checkKeyset(t *testing.T, v vectors.Keyset, d *envelope.Document, s *envelope.Keyset, roots plain.Roots) {
	read := opened(d, roots)
	require.Equal(t, []any{v.Use, v.Class}, []any{uint8(s.Use), uint8(s.Class)})
	primary, err := envelope.NewIndex(read).Primary(s.Use, s.Class)
	require.Equal(t, v.Seals, err == nil)
	if v.Seals {
		require.Equal(t, []byte(v.Primary), primary[:])
	}
	if set := read.Keyset(s.Use, s.Class); set != nil {
		current := set.Primary()
		require.Equal(t, []any{v.Epoch, []byte(v.Primary)}, []any{set.Epoch(), current[:]})
	} else {
		require.Empty(t, v.Primary)
	}
	require.Len(t, s.Keys, len(v.Keys))
	for i, k := range s.Keys {
		require.Equal(t, v.Keys[i], vectors.Key{
			ID: k.ID[:], State: uint8(k.State), CreatedAt: k.CreatedAt, Line: k.Root.Line[:], Generation: k.Root.Generation, RootID: k.Root.ID[:],
			Key: v.Keys[i].Key,
		})
		if k.State == envelope.Destroyed || roots[k.Root] == nil {
			require.Nil(t, v.Keys[i].Key)
			continue
		}
		key, err := plain.Unwrap(roots[k.Root], d.KeyBinding(s.Use, uint8(s.Class), k.ID), k.Wrapped)
		require.NoError(t, err)
		require.Equal(t, []byte(v.Keys[i].Key), key)
	}
}

func TestSlotsRoundTripAndOpen(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Slots {
		t.Run(v.Name, func(t *testing.T) {
			s, err := envelope.ParseSlot(v.Bytes)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Bytes), s.Append(nil))
			d := envelope.Document{Environment: v.Environment, Owner: v.Owner}
			checkSlot(t, v.Slot, &s, d.RootBinding(s.Root))
		})
	}
}

func TestInvalidDocumentsAreRefused(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Invalid {
		t.Run(v.Name, func(t *testing.T) {
			_, err := envelope.ParseDocument(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
	for _, v := range vectors.LoadDocuments().BadSlots {
		t.Run(v.Name, func(t *testing.T) {
			_, err := envelope.ParseSlot(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
}

func TestDocumentsAtLimitsRoundTrip(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Limits {
		t.Run(v.Name, func(t *testing.T) {
			b := v.Bytes.Bytes()
			d, err := envelope.ParseDocument(b)
			require.NoError(t, err)
			again, err := d.Append(nil)
			require.NoError(t, err)
			require.Equal(t, b, again)
		})
	}
}

func TestDerivationBudgets(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Budgets {
		t.Run(v.Name, func(t *testing.T) {
			d := envelope.Document{}
			for _, n := range v.Iterations {
				d.Slots = append(d.Slots, envelope.Slot{Kind: envelope.SlotPassword, Iterations: n})
			}
			requireOutcome(t, v.Code, d.CheckDerivations())
		})
	}
}

func TestForgedDocumentsDoNotUnlock(t *testing.T) {
	for _, v := range vectors.LoadDocuments().Unlocks {
		t.Run(v.Name, func(t *testing.T) {
			_, err := envelope.ParseDocument(v.Bytes)
			require.NoError(t, err)
			requireCode(t, v.Code, openRefused(v))
		})
	}
}

func TestMergesInBothOrders(t *testing.T) {
	for _, v := range vectors.LoadMerges() {
		t.Run(v.Name, func(t *testing.T) {
			a, err := envelope.ParseDocument(v.A.Bytes())
			require.NoError(t, err)
			b, err := envelope.ParseDocument(v.B.Bytes())
			require.NoError(t, err)
			for _, pair := range [][2]*envelope.Document{{a, b}, {b, a}} {
				merged, err := envelope.Merge(pair[0], pair[1])
				if v.Code != "" {
					requireCode(t, v.Code, err)
					continue
				}
				require.NoError(t, err)
				encoded, err := merged.Append(nil)
				require.NoError(t, err)
				require.True(t, v.Merged.Equal(encoded))
			}
		})
	}
}
