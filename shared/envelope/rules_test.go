package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// MoveKey refuses an earlier state and a root of another line.
func TestMoveKeyRefusesEarlierStateAndOtherLine(t *testing.T) {
	d := lived(t)
	move := func(root envelope.Root, to envelope.State) error {
		return d.MoveKey(format.UseCache, classify.PHI, format.KeyID{1}, root, to, wrapped(1))
	}
	require.NoError(t, move(newRoot(1), envelope.Disabled))
	require.ErrorIs(t, move(newRoot(2), envelope.Compromised), envelope.ErrInvalid)
	require.ErrorIs(t, move(rootOf(2, 1), envelope.Disabled), envelope.ErrInvalid)
	require.ErrorIs(t, d.MoveKey(format.UseCache, classify.PHI, format.KeyID{9}, newRoot(2), envelope.Disabled, wrapped(1)), envelope.ErrUnknownKey)
	require.ErrorIs(t, d.MoveKey(format.UseFile, classify.PHI, format.KeyID{1}, newRoot(2), envelope.Disabled, wrapped(1)), envelope.ErrUnknownKey)
}

// AddSlot refuses a slot of a root that was replaced.
func TestAddSlotRefusesReplacedRoot(t *testing.T) {
	d := lived(t)
	replaceRoots(t, d, newRoot(2), 9)
	require.ErrorIs(t, d.AddSlot(lifeSlot(3)), envelope.ErrInvalid)
}

// The last slot of a root cannot be removed while records are under the root, because a reader must open the roots of all
// records.
func TestRetireSlotKeepsLastSlotOfARoot(t *testing.T) {
	d := lived(t)
	for i, n := range []byte{7, 8} {
		s := lifeSlot(n)
		s.Root = envelope.Root{Line: newRoot(1).Line, Generation: 1, ID: format.KeyID{50}}
		require.NoError(t, d.AddSlot(s), i)
	}
	require.NoError(t, d.RetireSlot([16]byte{7}))
	require.ErrorIs(t, d.RetireSlot([16]byte{8}), envelope.ErrInvalid, "a retired slot is under the root")
}

// A document with keys left is not shredded, and the number of shred records is bounded.
func TestShredLinesKeepsOtherLines(t *testing.T) {
	d := lived(t)
	var lines [][envelope.LineSize]byte
	for n := range 65 {
		lines = append(lines, [envelope.LineSize]byte{200, byte(n)})
	}
	require.ErrorIs(t, d.ShredLines(lines, 1), envelope.ErrTooLarge)
	require.Empty(t, d.Shreds)
	require.NoError(t, d.ShredLines(lines[:64], 1))
	require.Len(t, d.Shreds, 64)
	d.Slots = nil
	require.False(t, d.Shredded(), "the document still has keys")
}

// Check requires a primary for each line that has keys.
func TestCheckRefusesLineWithoutPrimary(t *testing.T) {
	d := lived(t)
	k := lifeKey(4, 1)
	k.Root = rootOf(2, 1)
	d.Keysets[0].Keys = append(d.Keysets[0].Keys, k)
	require.ErrorIs(t, d.Check(), envelope.ErrInvalid)
}

// If the primaries of two lines have the same epoch, the one with the greater key id is effective.
func TestPrimaryOfEqualEpochsHasGreaterID(t *testing.T) {
	for _, higher := range []byte{1, 2} {
		s := envelope.Keyset{Primaries: []envelope.Primary{
			{Root: rootOf(1, 1), Epoch: 3, KeyID: format.KeyID{3 - higher}}, {Root: rootOf(2, 1), Epoch: 3, KeyID: format.KeyID{higher}},
		}}
		require.Equal(t, format.KeyID{2}, s.Primary())
	}
}

// A new root joins the line of the newest slot.
func TestNextRootJoinsLineOfNewestSlot(t *testing.T) {
	d := lived(t)
	for n, line := range []byte{2, 3, 4} {
		s := lifeSlot(10 + line)
		s.Root, s.CreatedAt = rootOf(line, 1), []int64{5, 9, 7}[n]
		require.NoError(t, d.AddSlot(s))
	}
	require.Equal(t, rootOf(3, 1).Line, d.NextRoot(format.KeyID{1}, [envelope.LineSize]byte{}).Line)
}

// Of two copies of a slot or key under roots of one generation, a merge keeps the one under the greater root.
func TestMergeOfEqualGenerationsKeepsGreaterRoot(t *testing.T) {
	a, b := lived(t), lived(t)
	greater := envelope.Root{Line: newRoot(1).Line, Generation: 1, ID: format.KeyID{255}}
	for _, d := range []*envelope.Document{a, b} {
		s := lifeSlot(20)
		s.CreatedAt = 9 // makes the encoding greater
		if d == a {
			s.Root, s.CreatedAt = greater, 8
		}
		require.NoError(t, d.AddSlot(s))
	}
	require.NoError(t, a.MoveKey(format.UseCache, classify.PHI, format.KeyID{1}, greater, envelope.Enabled, wrapped(1)))
	require.NoError(t, b.Advance(format.UseCache, classify.PHI, format.KeyID{1}, envelope.Disabled))
	for _, d := range []*envelope.Document{a, b} {
		require.NoError(t, d.Sign(authenticator))
	}
	for _, d := range []*envelope.Document{merge(t, a, b), merge(t, b, a)} {
		require.Equal(t, greater, d.Slots[len(d.Slots)-1].Root)
		require.Equal(t, greater, d.Keyset(format.UseCache, classify.PHI).Key(format.KeyID{1}).Root)
	}
}
