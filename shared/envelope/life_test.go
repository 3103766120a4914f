package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func lifeKey(n byte, created int64) envelope.Key {
	return envelope.Key{
		ID: format.KeyID{n}, State: envelope.Enabled, CreatedAt: created, Root: newRoot(1), Wrapped: make([]byte, envelope.WrappedSize),
	}
}

func lifeSlot(n byte) envelope.Slot {
	return envelope.Slot{ID: [16]byte{n}, Kind: envelope.SlotKMS, Root: newRoot(1), URL: "kms://x", Wrapped: []byte{n}}
}

// lived returns a document with three keys and two slots. The last key is the primary.
func lived(t *testing.T) *envelope.Document {
	d := &envelope.Document{Owner: "tenant"}
	for n := byte(1); n <= 3; n++ {
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, lifeKey(n, int64(n)*100)))
	}
	require.NoError(t, d.AddSlot(lifeSlot(1)))
	require.NoError(t, d.AddSlot(lifeSlot(2)))
	require.NoError(t, d.Sign(authenticator))
	return d
}

func TestPromoteStartsNewEpoch(t *testing.T) {
	d := lived(t)
	s := d.Keyset(format.UseCache, classify.PHI)
	require.EqualValues(t, 300, s.RotatedAt())
	former := format.KeyID{2}
	require.NoError(t, d.Promote(format.UseCache, classify.PHI, former))
	require.Equal(t, former, s.Primary())
	require.EqualValues(t, 4, s.Epoch())
	require.NoError(t, d.Promote(format.UseCache, classify.PHI, former))
	require.EqualValues(t, 4, s.Epoch(), "promoting the primary does not start an epoch")
	require.EqualValues(t, 300, s.RotatedAt(), "a rollback does not count as a rotation")

	require.NoError(t, d.Advance(format.UseCache, classify.PHI, format.KeyID{1}, envelope.Compromised))
	require.ErrorIs(t, d.Promote(format.UseCache, classify.PHI, format.KeyID{1}), envelope.ErrKeyUnusable)
	require.ErrorIs(t, d.Promote(format.UseCache, classify.PHI, format.KeyID{8}), envelope.ErrUnknownKey)
	require.ErrorIs(t, d.Promote(format.UseField, classify.PHI, format.KeyID{1}), envelope.ErrUnknownKey)
	require.NoError(t, d.Check())
}

func TestShredSurvivesMerges(t *testing.T) {
	d, before := lived(t), lived(t)
	require.False(t, d.Shredded())
	require.False(t, (&envelope.Document{Owner: "new"}).Shredded())
	require.NoError(t, d.Shred(7))
	require.True(t, d.Shredded())
	encode(t, d) // a shredded document can be encoded
	x := envelope.NewIndex(d)
	_, err := x.Primary(format.UseCache, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
	h := &format.Header{Use: format.UseCache, Class: uint8(classify.PHI), Source: format.FromKeyset, KeyID: format.KeyID{1}}
	require.ErrorIs(t, x.CheckOpen(h, envelope.OpenPolicy{Use: format.UseCache}), envelope.ErrKeyDestroyed)
	require.ErrorIs(t, d.AddSlot(lifeSlot(3)), envelope.ErrKeyDestroyed)

	merged, err := envelope.Merge(before, d)
	require.NoError(t, err)
	require.True(t, merged.Shredded(), "an earlier copy must restore nothing")
	require.Equal(t, encode(t, d), encode(t, merged))
	require.NoError(t, d.Shred(9))
	require.EqualValues(t, 7, d.Shreds[0].ShreddedAt, "shredding again must change nothing")
}

// An owner that started a new document while the shredded one was lost keeps the keys of the new line only.
func TestShredAffectsOneLine(t *testing.T) {
	shredded, again := lived(t), &envelope.Document{Owner: "tenant"}
	copied := lived(t)
	require.NoError(t, shredded.Shred(7))
	require.NoError(t, shredded.Sign(authenticator))
	slot, key := lifeSlot(9), lifeKey(9, 1)
	slot.Root, key.Root = rootOf(2, 1), rootOf(2, 1)
	require.NoError(t, again.AddSlot(slot))
	require.NoError(t, again.AddKey(format.UseCache, classify.PHI, key))
	require.NoError(t, again.Sign(authenticator))
	for _, other := range []*envelope.Document{shredded, merge(t, shredded, copied)} {
		merged := merge(t, other, again)
		require.False(t, merged.Shredded())
		require.Equal(t, key.ID, merged.Keyset(format.UseCache, classify.PHI).Primary(), "primary of the remaining line")
		require.Len(t, merged.Keyset(format.UseCache, classify.PHI).Keys, 1)
		require.Len(t, merged.Slots, 1)
	}
	require.NoError(t, again.ShredLines([][16]byte{{1}}, 8))
	require.False(t, again.Shredded())
	require.Len(t, merge(t, again, copied).Slots, 1, "a line that the document never contained stays shredded")
}

func TestRetiredSlotIsNotRestored(t *testing.T) {
	d := lived(t)
	before := lived(t)
	require.ErrorIs(t, d.RetireSlot([16]byte{7}), envelope.ErrUnknownKey)
	require.NoError(t, d.RetireSlot([16]byte{1}))
	require.ErrorIs(t, d.RetireSlot([16]byte{1}), envelope.ErrUnknownKey)
	require.Len(t, d.Slots, 1)
	require.ErrorIs(t, d.RetireSlot([16]byte{2}), envelope.ErrInvalid, "the last slot of the root")
	require.ErrorIs(t, d.AddSlot(lifeSlot(1)), envelope.ErrInvalid, "a retired id must not be used again")
	require.NoError(t, d.Check())
	encode(t, d)
	require.Equal(t, encode(t, d), encode(t, merge(t, d, before)), "a merge must not restore it")
	for i := 0; len(d.Retired) < 4096; i++ {
		require.NoError(t, d.AddSlot(numberedSlot(i)))
		require.NoError(t, d.RetireSlot(numberedSlot(i).ID))
	}
	require.NoError(t, d.AddSlot(numberedSlot(9999)))
	require.ErrorIs(t, d.RetireSlot(numberedSlot(9999).ID), envelope.ErrTooLarge)
	require.Less(t, len(encode(t, d)), envelope.MaxDocument)
}

// replaceRoots moves every key of lived under root, as a server does when it replaces a root.
func replaceRoots(t *testing.T, d *envelope.Document, root envelope.Root, slot byte) {
	for _, s := range d.Keysets {
		for _, k := range s.Keys {
			require.NoError(t, d.MoveKey(s.Use, s.Class, k.ID, root, k.State, wrapped(slot)))
		}
	}
	s := lifeSlot(slot)
	s.Root = root
	require.NoError(t, d.AddSlot(s))
	d.RemoveVoid()
	require.NoError(t, d.Check())
	require.NoError(t, d.Sign(authenticator))
}

// A merge neither restores a slot of a replaced root nor moves a key under it.
func TestMergeKeepsKeysUnderNewRoot(t *testing.T) {
	before, d := lived(t), lived(t)
	require.NoError(t, d.RetireSlot([16]byte{1}))
	replaceRoots(t, d, newRoot(2), 9)
	require.Empty(t, d.Retired, "slots of a replaced root leave no retired slots")
	require.Equal(t, encode(t, d), encode(t, merge(t, d, before)))

	rotated := lived(t) // by another device that did not yet have the new root
	require.NoError(t, rotated.AddKey(format.UseCache, classify.PHI, lifeKey(4, 400)))
	require.NoError(t, rotated.Promote(format.UseCache, classify.PHI, format.KeyID{1}))
	require.NoError(t, rotated.AddSlot(lifeSlot(5)))
	require.NoError(t, rotated.Sign(authenticator))
	merged := merge(t, d, rotated)
	require.Len(t, merged.Slots, 1)
	s := merged.Keyset(format.UseCache, classify.PHI)
	require.Equal(t, format.KeyID{3}, s.Primary(), "a primary of the replaced root loses, even with a higher epoch")
	for _, k := range s.Keys {
		require.Equal(t, k.ID != format.KeyID{4}, k.Root == newRoot(2), "%x", k.ID[:1])
	}
}

func TestNextRootJoinsTheLine(t *testing.T) {
	d := &envelope.Document{Owner: "tenant"}
	require.Equal(t, envelope.Root{Line: [16]byte{8}, Generation: 1, ID: format.KeyID{5}}, d.NextRoot(format.KeyID{5}, [16]byte{8}))
	d = lived(t)
	require.Equal(t, envelope.Root{Line: [16]byte{1}, Generation: 1, ID: format.KeyID{5}}, d.NextRoot(format.KeyID{5}, [16]byte{8}))
	replaceRoots(t, d, newRoot(2), 9)
	require.EqualValues(t, 2, d.NextRoot(format.KeyID{5}, [16]byte{8}).Generation)
	require.Equal(t, []envelope.Root{newRoot(2)}, d.Roots())
}

func TestCheckDerivationsLimitsTotal(t *testing.T) {
	d := newDocument()
	add := func(n byte, iterations uint32) {
		s := newSlot(n)
		s.Kind, s.Iterations = envelope.SlotPassword, iterations
		require.NoError(t, d.AddSlot(s))
	}
	add(1, 10_000_000)
	add(2, 9_900_000)
	add(3, 99_999)     // does not count, because it is skipped
	add(4, 10_000_001) // does not count either
	add(5, 100_000)
	require.NoError(t, d.CheckDerivations())
	for i, ok := range []bool{true, true, false, false, true} {
		require.Equal(t, ok, d.Slots[i].CheckIterations() == nil)
	}
	add(6, 100_000)
	require.ErrorIs(t, d.CheckDerivations(), classify.ErrIterations)
	s := newSlot(7)
	require.NoError(t, s.CheckIterations(), "a master key has no iterations")
}
