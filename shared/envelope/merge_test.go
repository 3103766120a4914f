package envelope_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func merge(t *testing.T, a, b *envelope.Document) *envelope.Document {
	beforeA, beforeB := encode(t, a), encode(t, b)
	merged, err := envelope.Merge(a, b)
	require.NoError(t, err)
	require.Equal(t, beforeA, encode(t, a), "Merge must not change its arguments")
	require.Equal(t, beforeB, encode(t, b), "Merge must not change its arguments")
	return merged
}

func TestMergeIsCommutativeAssociativeIdempotent(t *testing.T) {
	r := newRandom(t)
	for range 300 {
		a, b, c := randomDocument(t, r), randomDocument(t, r), randomDocument(t, r)
		ab := merge(t, a, b)
		require.Equal(t, encode(t, ab), encode(t, merge(t, b, a)), "commutative")
		require.Equal(t, encode(t, merge(t, ab, c)), encode(t, merge(t, a, merge(t, b, c))), "associative")
		require.Equal(t, encode(t, a), encode(t, merge(t, a, a)), "idempotent")
		require.Equal(t, encode(t, ab), encode(t, merge(t, ab, a)), "merging again changes nothing")
		requireJoined(t, a, ab)
		requireJoined(t, b, ab)
	}
}

// requireJoined checks that whole contains every record of part, except for shredded lines and replaced roots, and that no
// state, epoch or generation went back.
func requireJoined(t *testing.T, part, whole *envelope.Document) {
	shredded := map[[16]byte]bool{}
	for _, s := range whole.Shreds {
		shredded[s.Line] = true
	}
	for _, s := range part.Shreds {
		require.True(t, shredded[s.Line])
	}
	void := func(r envelope.Root) bool { return shredded[r.Line] || r.Generation < whole.Generation(r.Line) }
	for _, r := range part.Retired {
		require.True(t, void(r.Root) || slices.ContainsFunc(whole.Retired, func(o envelope.RetiredSlot) bool { return o.ID == r.ID }))
		require.False(t, slices.ContainsFunc(whole.Slots, func(o envelope.Slot) bool { return o.ID == r.ID }), "a retired slot stays retired")
	}
	for _, s := range part.Slots {
		retired := slices.ContainsFunc(whole.Retired, func(o envelope.RetiredSlot) bool { return o.ID == s.ID })
		there := slices.ContainsFunc(whole.Slots, func(o envelope.Slot) bool { return o.ID == s.ID })
		require.Equal(t, !void(s.Root) && !retired, there)
	}
	for _, s := range part.Keysets {
		for _, k := range s.Keys {
			joined := whole.Keyset(s.Use, s.Class)
			if shredded[k.Root.Line] {
				require.True(t, joined == nil || joined.Key(k.ID) == nil, "a shredded line must leave no record")
				continue
			}
			now := joined.Key(k.ID)
			require.GreaterOrEqual(t, now.Root.Generation, k.Root.Generation*b2u(now.State != envelope.Destroyed), "a key must not move under a replaced root")
			if now.Root == k.Root || k.State == envelope.Destroyed {
				require.GreaterOrEqual(t, now.State, k.State, "states only advance")
			}
		}
	}
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func TestMergeChoosesPrimary(t *testing.T) {
	for _, c := range []struct {
		name  string
		a, b  envelope.Primary
		takeB bool
	}{
		{"higher epoch, lower id", envelope.Primary{Root: newRoot(1), Epoch: 3, KeyID: id(1)}, envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(2)}, false},
		{"lower epoch, higher id", envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(2)}, envelope.Primary{Root: newRoot(1), Epoch: 3, KeyID: id(1)}, true},
		{"equal epochs, higher id", envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(1)}, envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(2)}, true},
		{"higher generation, lower epoch", envelope.Primary{Root: newRoot(1), Epoch: 1<<32 - 1, KeyID: id(2)}, envelope.Primary{Root: newRoot(2), Epoch: 1, KeyID: id(1)}, true},
		{"equal primaries", envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(1)}, envelope.Primary{Root: newRoot(1), Epoch: 2, KeyID: id(1)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(p envelope.Primary) *envelope.Document {
				d := newDocument()
				d.Keysets = []envelope.Keyset{{
					Use: format.UseCache, Class: classify.PHI, Primaries: []envelope.Primary{p}, Keys: []envelope.Key{newKey(1), newKey(2)},
				}}
				require.NoError(t, d.Sign(authenticator))
				return d
			}
			want := c.a
			if c.takeB {
				want = c.b
			}
			s := merge(t, with(c.a), with(c.b)).Keyset(format.UseCache, classify.PHI)
			require.Equal(t, want.KeyID, s.Primary())
			require.Equal(t, want.Epoch, s.Epoch())
		})
	}
}

// Of two copies of a key, a merge keeps one as a whole.
func TestMergeChoosesKey(t *testing.T) {
	key := func(generation uint32, state envelope.State) envelope.Key {
		k := newKey(1)
		k.Root, k.State = newRoot(generation), state
		if state == envelope.Destroyed {
			k.Wrapped = nil
		}
		return k
	}
	for _, c := range []struct {
		name       string
		lost, kept envelope.Key
	}{
		{"disabled and compromised", key(1, envelope.Compromised), key(1, envelope.Disabled)},
		{"enabled and compromised", key(1, envelope.Enabled), key(1, envelope.Compromised)},
		{"destroyed under the former root", key(2, envelope.Enabled), key(1, envelope.Destroyed)},
		{"compromised under the former root", key(1, envelope.Compromised), key(2, envelope.Enabled)},
		{"destroyed under both", key(1, envelope.Destroyed), key(2, envelope.Destroyed)},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(k envelope.Key) *envelope.Document {
				d := newDocument()
				d.Keysets = []envelope.Keyset{{
					Use: format.UseCache, Class: classify.PHI, Primaries: []envelope.Primary{{Root: newRoot(1), Epoch: 1, KeyID: k.ID}}, Keys: []envelope.Key{k},
				}}
				require.NoError(t, d.Sign(authenticator))
				return d
			}
			for _, merged := range []*envelope.Document{merge(t, with(c.lost), with(c.kept)), merge(t, with(c.kept), with(c.lost))} {
				require.Equal(t, with(c.kept).Keysets[0].Keys, merged.Keysets[0].Keys)
			}
		})
	}
}

// If one device rolls back to a key while an offline device disables it, the merge keeps both changes. The keyset does not
// seal until it gets a new primary.
func TestDisabledPrimaryAfterMergeDoesNotSeal(t *testing.T) {
	a, b := newDocument(), newDocument()
	for _, d := range []*envelope.Document{a, b} {
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(1)))
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(2)))
	}
	require.NoError(t, a.Promote(format.UseCache, classify.PHI, id(1)))
	require.NoError(t, b.Advance(format.UseCache, classify.PHI, id(1), envelope.Disabled))
	require.NoError(t, a.Sign(authenticator))
	require.NoError(t, b.Sign(authenticator))
	merged := merge(t, a, b)
	_, err := envelope.NewIndex(merged).Primary(format.UseCache, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyUnusable)
	require.NoError(t, merged.AddKey(format.UseCache, classify.PHI, newKey(3)))
	primary, err := envelope.NewIndex(merged).Primary(format.UseCache, classify.PHI)
	require.NoError(t, err)
	require.Equal(t, id(3), primary)
}

func TestMergeRefusesAnotherOwnerOrEnvironment(t *testing.T) {
	a, b := newDocument(), newDocument()
	b.Owner = "hospital"
	_, err := envelope.Merge(a, b)
	require.ErrorIs(t, err, envelope.ErrInvalid)
	b.Owner, b.Environment = a.Owner, "prod"
	_, err = envelope.Merge(a, b)
	require.ErrorIs(t, err, envelope.ErrInvalid)
}

func TestMergeRefusesResultsOverLimits(t *testing.T) {
	a, b := newDocument(), newDocument()
	for i := range 256 {
		require.NoError(t, a.AddSlot(numberedSlot(i)))
	}
	require.NoError(t, b.AddSlot(newSlot(100)))
	_, err := envelope.Merge(a, b)
	require.ErrorIs(t, err, envelope.ErrTooLarge, "257 slots")
}

// A change of the merged document does not change the documents that were merged.
func TestMergedDocumentIsACopy(t *testing.T) {
	a, empty := newDocument(), newDocument()
	require.NoError(t, a.AddKey(format.UseCache, classify.PHI, newKey(1)))
	require.NoError(t, a.AddKey(format.UseCache, classify.PHI, newKey(2)))
	require.NoError(t, a.AddSlot(newSlot(1)))
	before := encode(t, a)
	for _, merged := range []*envelope.Document{merge(t, a, empty), merge(t, empty, a), merge(t, a, a)} {
		require.NoError(t, merged.Advance(format.UseCache, classify.PHI, id(1), envelope.Destroyed))
		require.NoError(t, merged.AddKey(format.UseCache, classify.PHI, newKey(3)))
		require.NoError(t, merged.AddSlot(newSlot(2)))
		require.Equal(t, before, encode(t, a))
	}
}
