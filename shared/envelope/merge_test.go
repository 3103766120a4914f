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
	require.Equal(t, beforeA, encode(t, a), "Merge changes neither")
	require.Equal(t, beforeB, encode(t, b), "Merge changes neither")
	return merged
}

func TestMergeIsAJoin(t *testing.T) {
	r := newRandom(t)
	for range 300 {
		a, b, c := randomDocument(t, r), randomDocument(t, r), randomDocument(t, r)
		ab := merge(t, a, b)
		require.Equal(t, encode(t, ab), encode(t, merge(t, b, a)), "commutative")
		require.Equal(t, encode(t, merge(t, ab, c)), encode(t, merge(t, a, merge(t, b, c))), "associative")
		require.Equal(t, encode(t, a), encode(t, merge(t, a, a)), "idempotent")
		require.Equal(t, encode(t, ab), encode(t, merge(t, ab, a)), "absorbs what it has")
		requireJoined(t, a, ab)
		requireJoined(t, b, ab)
	}
}

// TestKeeps: a joined document keeps its parts, and none that lacks a slot, a key, a keyset, a later state or
// a later primary does.
func TestKeeps(t *testing.T) {
	r := newRandom(t)
	lost := map[string]int{}
	for range 100 {
		a, b := randomDocument(t, r), randomDocument(t, r)
		ab := merge(t, a, b)
		require.True(t, ab.Keeps(a) && ab.Keeps(b) && ab.Keeps(ab))
		try := func(what string, lose func(d *envelope.Document) bool) {
			if d := merge(t, ab, ab); lose(d) {
				lost[what]++
				require.False(t, d.Keeps(ab), what)
			}
		}
		try("slot", func(d *envelope.Document) bool {
			had := len(d.Slots)
			d.Slots = d.Slots[min(1, had):]
			return had > 0
		})
		try("slot's state", func(d *envelope.Document) bool {
			i := slices.IndexFunc(d.Slots, func(s envelope.Slot) bool { return s.State == envelope.Destroyed })
			if i >= 0 {
				d.Slots[i].State = envelope.Enabled
			}
			return i >= 0
		})
		try("keyset", func(d *envelope.Document) bool {
			had := len(d.Keysets)
			d.Keysets = d.Keysets[min(1, had):]
			return had > 0
		})
		for i := range ab.Keysets {
			try("key", func(d *envelope.Document) bool {
				d.Keysets[i].Keys = d.Keysets[i].Keys[1:]
				return true
			})
			try("key's state", func(d *envelope.Document) bool {
				k := &d.Keysets[i].Keys[0]
				k.State--
				return k.State > 0
			})
			try("epoch", func(d *envelope.Document) bool {
				d.Keysets[i].Epoch--
				return true
			})
		}
	}
	require.Len(t, lost, 6)
}

// requireJoined: nothing of a part is missing in the whole, and nothing went back.
func requireJoined(t *testing.T, part, whole *envelope.Document) {
	slots := map[[16]byte]envelope.State{}
	for _, s := range whole.Slots {
		slots[s.ID] = s.State
	}
	for _, s := range part.Slots {
		require.GreaterOrEqual(t, slots[s.ID], s.State, "a destroyed slot stays destroyed")
	}
	for _, s := range part.Keysets {
		joined := whole.Keyset(s.Use, s.Class)
		require.NotNil(t, joined)
		require.GreaterOrEqual(t, joined.Epoch, s.Epoch)
		states := map[format.KeyID]envelope.State{}
		for _, k := range joined.Keys {
			states[k.ID] = k.State
		}
		for _, k := range s.Keys {
			require.GreaterOrEqual(t, states[k.ID], k.State, "states only advance")
		}
	}
}

func TestMergePrimaryIsOfTheHighestEpochThenId(t *testing.T) {
	for _, c := range []struct {
		name           string
		epochA, epochB uint32
		a, b, want     byte
	}{
		{"higher epoch, lower id", 3, 2, 1, 2, 1},
		{"lower epoch, higher id", 2, 3, 2, 1, 1},
		{"equal epochs: the higher id", 2, 2, 1, 2, 2},
		{"the same", 2, 2, 1, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			make1 := func(epoch uint32, primary byte) *envelope.Document {
				d := newDocument()
				d.Keysets = []envelope.Keyset{{
					Use: format.UseCache, Class: classify.PHI, Epoch: epoch, Primary: id(primary),
					Keys: []envelope.Key{newKey(1), newKey(2)},
				}}
				return d
			}
			merged := merge(t, make1(c.epochA, c.a), make1(c.epochB, c.b))
			s := merged.Keyset(format.UseCache, classify.PHI)
			require.Equal(t, id(c.want), s.Primary)
			require.Equal(t, max(c.epochA, c.epochB), s.Epoch)
		})
	}
}

// One device rolls back to a key while another, offline, disables it: both are kept, and nothing seals until
// there is a new primary.
func TestMergedPrimaryThatWasDisabledDoesNotSeal(t *testing.T) {
	a, b := newDocument(), newDocument()
	for _, d := range []*envelope.Document{a, b} {
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(1)))
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(2)))
	}
	a.Keysets[0].Primary, a.Keysets[0].Epoch = id(1), 3
	require.NoError(t, b.Advance(format.UseCache, classify.PHI, id(1), envelope.Disabled))
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

func TestMergeRefusesWhatNoDocumentMayHold(t *testing.T) {
	a, b := newDocument(), newDocument()
	for i := range 256 {
		require.NoError(t, a.AddSlot(numberedSlot(i)))
	}
	require.NoError(t, b.AddSlot(newSlot(100)))
	_, err := envelope.Merge(a, b)
	require.ErrorIs(t, err, envelope.ErrInvalid, "257 slots")
}

// A merged document is a new one: what is done to it is not done to those it came from.
func TestMergedDocumentIsItsOwn(t *testing.T) {
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
