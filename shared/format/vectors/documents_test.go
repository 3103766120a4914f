package vectors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

func TestDocuments(t *testing.T) {
	for _, v := range vectors.Documents().Documents {
		t.Run(v.Name, func(t *testing.T) {
			d, err := envelope.ParseDocument(v.Bytes)
			require.NoError(t, err)
			again, err := d.Append(nil)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Bytes), again)
			require.Equal(t, v.Environment, d.Environment)
			require.Equal(t, v.Owner, d.Owner)
			require.Len(t, d.Slots, len(v.Slots))
			require.Len(t, d.Keysets, len(v.Keysets))
			roots := map[format.KeyID][]byte{}
			for i := range v.Slots {
				checkSlot(t, v.Slots[i], &d.Slots[i], d.BindRoot(d.Slots[i].RootID))
				if v.Slots[i].Root != nil {
					roots[d.Slots[i].RootID] = v.Slots[i].Root
				}
			}
			for i := range v.Keysets {
				checkKeyset(t, v.Keysets[i], d, &d.Keysets[i], roots)
			}
		})
	}
}

func checkSlot(t *testing.T, v vectors.Slot, s *envelope.Slot, binding envelope.Binding) {
	require.Equal(t, v, vectors.Slot{
		ID: s.ID[:], Kind: uint8(s.Kind), State: uint8(s.State), CreatedAt: s.CreatedAt, Iterations: s.Iterations, URL: s.URL,
		KeyID: s.KeyID[:], RootID: s.RootID[:], Secret: v.Secret, Key: v.Key, Root: v.Root,
	})
	if s.State == envelope.Destroyed {
		require.Nil(t, v.Root)
		return
	}
	var root []byte
	var err error
	if v.Secret != nil {
		root, err = unlock(s, binding, *v.Secret)
	} else {
		require.Equal(t, s.KeyID, plain.KeyID(v.Key))
		root, err = plain.Unwrap(v.Key, binding, s.Wrapped)
	}
	require.NoError(t, err)
	require.Equal(t, []byte(v.Root), root)
}

// unlock does what shared/envelope/SPEC.md says.
func unlock(s *envelope.Slot, binding envelope.Binding, secret vectors.Secret) ([]byte, error) {
	if s.State != envelope.Enabled {
		return nil, envelope.ErrWrongSecret
	}
	if s.Kind == envelope.SlotPassword {
		if err := classify.PHI.CheckIterations(s.Iterations); err != nil {
			return nil, err
		}
	}
	key, err := fromSecret(&secret, s.Salt, s.Iterations)
	if err != nil {
		return nil, err
	}
	if s.Kind == envelope.SlotKMS {
		return plain.UnwrapLocal(key, binding, s.Wrapped)
	}
	if plain.KeyID(key) != s.KeyID {
		return nil, envelope.ErrWrongSecret
	}
	return plain.Unwrap(key, binding, s.Wrapped)
}

func checkKeyset(t *testing.T, v vectors.Keyset, d *envelope.Document, s *envelope.Keyset, roots map[format.KeyID][]byte) {
	primary, err := envelope.NewIndex(d).Primary(s.Use, s.Class)
	require.Equal(t, v.Seals, err == nil)
	if v.Seals {
		require.Equal(t, s.Primary, primary)
	}
	require.Equal(t, []any{v.Use, v.Class, v.Epoch, []byte(v.Primary)}, []any{uint8(s.Use), uint8(s.Class), s.Epoch, s.Primary[:]})
	require.Len(t, s.Keys, len(v.Keys))
	for i, k := range s.Keys {
		require.Equal(t, v.Keys[i], vectors.Key{
			ID: k.ID[:], State: uint8(k.State), CreatedAt: k.CreatedAt, RootID: k.RootID[:], Key: v.Keys[i].Key,
		})
		if k.State == envelope.Destroyed || d.Gone(k.RootID) {
			require.Nil(t, v.Keys[i].Key)
			continue
		}
		key, err := plain.Unwrap(roots[k.RootID], d.BindKey(s.Use, uint8(s.Class), k.ID), k.Wrapped)
		require.NoError(t, err)
		require.Equal(t, []byte(v.Keys[i].Key), key)
	}
}

func TestSlots(t *testing.T) {
	for _, v := range vectors.Documents().Slots {
		t.Run(v.Name, func(t *testing.T) {
			s, err := envelope.ParseSlot(v.Bytes)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Bytes), s.Append(nil))
			d := envelope.Document{Environment: v.Environment, Owner: v.Owner}
			checkSlot(t, v.Slot, &s, d.BindRoot(s.RootID))
		})
	}
}

func TestInvalidDocuments(t *testing.T) {
	for _, v := range vectors.Documents().Invalid {
		t.Run(v.Name, func(t *testing.T) {
			_, err := envelope.ParseDocument(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
	for _, v := range vectors.Documents().BadSlots {
		t.Run(v.Name, func(t *testing.T) {
			_, err := envelope.ParseSlot(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
}

func TestUnlockRefusals(t *testing.T) {
	for _, v := range vectors.Documents().Unlocks {
		t.Run(v.Name, func(t *testing.T) {
			d, err := envelope.ParseDocument(v.Bytes)
			require.NoError(t, err)
			s := &d.Slots[0]
			root, err := unlock(s, d.BindRoot(s.RootID), v.Secret)
			if err == nil {
				set := &d.Keysets[0]
				_, err = plain.Unwrap(root, d.BindKey(set.Use, uint8(set.Class), set.Keys[0].ID), set.Keys[0].Wrapped)
			}
			requireCode(t, v.Code, err)
		})
	}
}

func TestMerges(t *testing.T) {
	for _, v := range vectors.Documents().Merges {
		t.Run(v.Name, func(t *testing.T) {
			a, err := envelope.ParseDocument(v.A)
			require.NoError(t, err)
			b, err := envelope.ParseDocument(v.B)
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
				require.Equal(t, []byte(v.Merged), encoded)
			}
		})
	}
}
