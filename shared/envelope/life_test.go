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
		ID: format.KeyID{n}, State: envelope.Enabled, CreatedAt: created, RootID: format.KeyID{9}, Wrapped: make([]byte, envelope.WrappedSize),
	}
}

func lifeSlot(n byte) envelope.Slot {
	return envelope.Slot{ID: [16]byte{n}, Kind: envelope.SlotKMS, State: envelope.Enabled, RootID: format.KeyID{9}, URL: "kms://x", Wrapped: []byte{n}}
}

// lived is a document with three keys, the last of which is the primary, and two slots.
func lived(t *testing.T) *envelope.Document {
	d := &envelope.Document{Owner: "tenant"}
	for n := byte(1); n <= 3; n++ {
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, lifeKey(n, int64(n)*100)))
	}
	require.NoError(t, d.AddSlot(lifeSlot(1)))
	require.NoError(t, d.AddSlot(lifeSlot(2)))
	return d
}

func TestPromote(t *testing.T) {
	d := lived(t)
	s := d.Keyset(format.UseCache, classify.PHI)
	require.EqualValues(t, 300, s.RotatedAt())
	former := format.KeyID{2}
	require.NoError(t, d.Promote(format.UseCache, classify.PHI, former))
	require.Equal(t, former, s.Primary)
	require.EqualValues(t, 4, s.Epoch)
	require.NoError(t, d.Promote(format.UseCache, classify.PHI, former))
	require.EqualValues(t, 4, s.Epoch, "what is the primary stays it in its epoch")
	require.EqualValues(t, 300, s.RotatedAt(), "a rollback is no rotation")

	require.NoError(t, d.Advance(format.UseCache, classify.PHI, format.KeyID{1}, envelope.Compromised))
	require.ErrorIs(t, d.Promote(format.UseCache, classify.PHI, format.KeyID{1}), envelope.ErrKeyUnusable)
	require.ErrorIs(t, d.Promote(format.UseCache, classify.PHI, format.KeyID{8}), envelope.ErrUnknownKey)
	require.ErrorIs(t, d.Promote(format.UseField, classify.PHI, format.KeyID{1}), envelope.ErrUnknownKey)
	require.NoError(t, d.Check())
}

func TestShred(t *testing.T) {
	d, before := lived(t), lived(t)
	require.False(t, d.Shredded())
	require.False(t, (&envelope.Document{Owner: "new"}).Shredded())
	d.Shred()
	require.True(t, d.Shredded())
	_, err := d.Append(nil)
	require.NoError(t, err, "a shredded document can be kept")
	x := envelope.NewIndex(d)
	_, err = x.Primary(format.UseCache, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
	h := &format.Header{Use: format.UseCache, Class: uint8(classify.PHI), Source: format.FromKeyset, KeyID: format.KeyID{1}}
	require.ErrorIs(t, x.CheckOpen(h, envelope.Demand{Use: format.UseCache}), envelope.ErrKeyDestroyed)

	merged, err := envelope.Merge(before, d)
	require.NoError(t, err)
	require.True(t, merged.Shredded(), "an earlier copy brings nothing back")
	for _, k := range merged.Keysets[0].Keys {
		require.Equal(t, envelope.Destroyed, k.State)
		require.Empty(t, k.Wrapped)
	}
}

func TestDestroySlot(t *testing.T) {
	d := lived(t)
	require.ErrorIs(t, d.DestroySlot([16]byte{7}), envelope.ErrUnknownKey)
	require.NoError(t, d.DestroySlot([16]byte{1}))
	require.NoError(t, d.DestroySlot([16]byte{1}), "what is destroyed stays so")
	require.Equal(t, envelope.Destroyed, d.Slots[0].State)
	require.Empty(t, d.Slots[0].Wrapped)
	require.ErrorIs(t, d.DestroySlot([16]byte{2}), envelope.ErrInvalid, "the last way to the root")
	require.NoError(t, d.Check())
}

// What was shredded until a time takes nothing that was made since.
func TestShredUntil(t *testing.T) {
	d := lived(t)
	anew := lifeSlot(3)
	anew.RootID, anew.CreatedAt = format.KeyID{8}, 250
	require.NoError(t, d.AddSlot(anew))
	key := lifeKey(4, 400)
	key.RootID = anew.RootID
	require.NoError(t, d.AddKey(format.UseField, classify.PII, key))
	d.ShredUntil(200)
	require.False(t, d.Shredded())
	x := envelope.NewIndex(d)
	open := func(use format.Use, class classify.Class, n byte) error {
		return x.CheckOpen(&format.Header{Use: use, Class: uint8(class), Source: format.FromKeyset, KeyID: format.KeyID{n}}, envelope.Demand{Use: use})
	}
	require.ErrorIs(t, open(format.UseCache, classify.PHI, 1), envelope.ErrKeyDestroyed)
	require.ErrorIs(t, open(format.UseCache, classify.PHI, 2), envelope.ErrKeyDestroyed)
	require.Equal(t, envelope.Enabled, d.Keysets[0].Keys[2].State)
	require.ErrorIs(t, open(format.UseCache, classify.PHI, 3), envelope.ErrKeyDestroyed, "nothing opens its root any more")
	_, err := x.Primary(format.UseCache, classify.PHI)
	require.ErrorIs(t, err, envelope.ErrKeyDestroyed)
	require.NoError(t, open(format.UseField, classify.PII, 4))
	require.True(t, d.Gone(format.KeyID{9}))
	require.False(t, d.Gone(anew.RootID))
	require.False(t, d.Gone(format.KeyID{7}), "a root without slots")
	require.NoError(t, d.Check())
}
