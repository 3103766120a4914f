package envelope_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestDocumentCheckEnforcesRules(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	keyset := func(d *envelope.Document) *envelope.Keyset { return &d.Keysets[0] }
	slotOf := func(d *envelope.Document, kind envelope.SlotKind) *envelope.Slot { return &d.Slots[kind-1] }
	password, master, kms := envelope.SlotPassword, envelope.SlotMasterKey, envelope.SlotKMS
	for _, c := range []struct {
		name   string
		change func(d *envelope.Document)
		ok     bool
	}{
		{"unchanged", func(*envelope.Document) {}, true},
		{"only an owner", func(d *envelope.Document) { *d = envelope.Document{Owner: "o"} }, true},
		{"system document", func(d *envelope.Document) { d.Owner = "" }, true},
		{"longest owner", func(d *envelope.Document) { d.Owner = long(format.MaxOwner) }, true},
		{"owner too long", func(d *envelope.Document) { d.Owner = long(format.MaxOwner + 1) }, false},
		{"owner not UTF-8", func(d *envelope.Document) { d.Owner = "\xff" }, false},
		{"longest environment", func(d *envelope.Document) { d.Environment = long(envelope.MaxEnvironment) }, true},
		{"environment too long", func(d *envelope.Document) { d.Environment = long(envelope.MaxEnvironment + 1) }, false},
		{"environment not UTF-8", func(d *envelope.Document) { d.Environment = "\xed\xa0\x80" }, false},
		{"slots not sorted", func(d *envelope.Document) { slices.Reverse(d.Slots) }, false},
		{"duplicate slot", func(d *envelope.Document) { d.Slots[1] = d.Slots[0] }, false},
		{"keysets not sorted", func(d *envelope.Document) { slices.Reverse(d.Keysets) }, false},
		{"duplicate keyset", func(d *envelope.Document) { d.Keysets[1] = d.Keysets[0] }, false},
		{"too many keysets", func(d *envelope.Document) { d.Keysets = append(d.Keysets, d.Keysets[0]) }, false},

		{"slot of kind 0", func(d *envelope.Document) { slotOf(d, master).Kind = 0 }, false},
		{"slot of an unknown kind with arbitrary fields", func(d *envelope.Document) {
			s := slotOf(d, 8)
			s.Iterations, s.Salt, s.URL, s.Parameters, s.Wrapped = 1, format.Salt{1}, "x", make([]byte, 4096), nil
		}, true},
		{"slot of an unknown kind with too many parameters", func(d *envelope.Document) { slotOf(d, 8).Parameters = make([]byte, 4097) }, false},
		{"slot of generation 0", func(d *envelope.Document) { slotOf(d, master).Root.Generation = 0 }, false},
		{"slot of a replaced root", func(d *envelope.Document) { slotOf(d, master).Root = newRoot(2) }, false},
		{"slot that is also retired", func(d *envelope.Document) {
			d.Retired = []envelope.RetiredSlot{{ID: slotOf(d, master).ID, Root: slotOf(d, master).Root}}
		}, false},
		{"retired slot beside other slots", func(d *envelope.Document) {
			d.Retired = []envelope.RetiredSlot{{ID: [16]byte{99}, Root: newRoot(1)}}
		}, true},
		{"retired slots not sorted", func(d *envelope.Document) {
			d.Retired = []envelope.RetiredSlot{{ID: [16]byte{99}, Root: newRoot(1)}, {ID: [16]byte{98}, Root: newRoot(1)}}
		}, false},
		{"retired slot of generation 0", func(d *envelope.Document) { d.Retired = []envelope.RetiredSlot{{ID: [16]byte{99}}} }, false},
		{"shred record of another line", func(d *envelope.Document) { d.Shreds = []envelope.ShredRecord{{Line: [16]byte{9}}} }, true},
		{"keys of a shredded line", func(d *envelope.Document) { d.Shreds = []envelope.ShredRecord{{Line: [16]byte{1}}} }, false},
		{"shredded before 1970", func(d *envelope.Document) { d.Shreds = []envelope.ShredRecord{{ShreddedAt: -1}} }, false},
		{"shred records not sorted", func(d *envelope.Document) {
			d.Shreds = []envelope.ShredRecord{{Line: [16]byte{9}}, {Line: [16]byte{8}}}
		}, false},
		{"master key with parameters", func(d *envelope.Document) { slotOf(d, master).Parameters = []byte{1} }, false},
		{"passkey with parameters", func(d *envelope.Document) { slotOf(d, envelope.SlotPasskey).Parameters = []byte{1} }, true},
		{"host slot with 61 wrapped bytes", func(d *envelope.Document) { slotOf(d, envelope.SlotHost).Wrapped = make([]byte, 61) }, false},
		{"recipient slot with 1200 wrapped bytes", func(d *envelope.Document) { slotOf(d, envelope.SlotRecipient).Wrapped = make([]byte, 1200) }, true},
		{"slot without wrapped bytes", func(d *envelope.Document) { slotOf(d, master).Wrapped = nil }, false},
		{"slot with 61 wrapped bytes", func(d *envelope.Document) { slotOf(d, master).Wrapped = make([]byte, 61) }, false},
		{"slot before 1970", func(d *envelope.Document) { slotOf(d, master).CreatedAt = -1 }, false},
		{"slot at the latest time", func(d *envelope.Document) { slotOf(d, master).CreatedAt = format.MaxTime }, true},
		{"slot after the latest time", func(d *envelope.Document) { slotOf(d, master).CreatedAt = format.MaxTime + 1 }, false},
		{"slot without key id", func(d *envelope.Document) { slotOf(d, master).KeyID = format.KeyID{} }, false},
		{"password without iterations", func(d *envelope.Document) { slotOf(d, password).Iterations = 0 }, false},
		{"master key with iterations", func(d *envelope.Document) { slotOf(d, master).Iterations = 1 }, false},
		{"master key with salt", func(d *envelope.Document) { slotOf(d, master).Salt = format.Salt{1} }, false},
		{"master key with URL", func(d *envelope.Document) { slotOf(d, master).URL = "x" }, false},
		{"KMS without URL", func(d *envelope.Document) { slotOf(d, kms).URL = "" }, false},
		{"KMS with commitment", func(d *envelope.Document) { slotOf(d, kms).KeyID = id(1) }, false},
		{"KMS with longest URL", func(d *envelope.Document) { slotOf(d, kms).URL = long(envelope.MaxURL) }, true},
		{"KMS with URL too long", func(d *envelope.Document) { slotOf(d, kms).URL = long(envelope.MaxURL + 1) }, false},
		{"KMS with URL not UTF-8", func(d *envelope.Document) { slotOf(d, kms).URL = "\xff" }, false},
		{"KMS with one byte", func(d *envelope.Document) { slotOf(d, kms).Wrapped = []byte{1} }, true},
		{"KMS with the most bytes", func(d *envelope.Document) { slotOf(d, kms).Wrapped = make([]byte, envelope.MaxWrapped) }, true},
		{"KMS with a byte more", func(d *envelope.Document) { slotOf(d, kms).Wrapped = make([]byte, envelope.MaxWrapped+1) }, false},
		{"KMS without bytes", func(d *envelope.Document) { slotOf(d, kms).Wrapped = nil }, false},

		{"keyset of use 0", func(d *envelope.Document) { keyset(d).Use = 0 }, false},
		{"keyset of use 11", func(d *envelope.Document) { d.Keysets[len(d.Keysets)-1].Use = 11 }, false},
		{"keyset of names with a class", func(d *envelope.Document) { d.Keysets[len(d.Keysets)-1].Class = 1 }, false},
		{"keyset of class 0", func(d *envelope.Document) { keyset(d).Class = 0 }, false},
		{"keyset of class 6", func(d *envelope.Document) { d.Keysets[len(d.Keysets)-1].Class = 6 }, false},
		{"primary of epoch 0", func(d *envelope.Document) { keyset(d).Primaries[0].Epoch = 0 }, false},
		{"primary of generation 0", func(d *envelope.Document) { keyset(d).Primaries[0].Root.Generation = 0 }, false},
		{"keyset without a primary", func(d *envelope.Document) { keyset(d).Primaries = nil }, false},
		{"primary of another line", func(d *envelope.Document) { keyset(d).Primaries[0].Root.Line[0]++ }, false},
		{"two primaries of one line", func(d *envelope.Document) {
			keyset(d).Primaries = append(keyset(d).Primaries, keyset(d).Primaries[0])
		}, false},
		{"keyset without keys", func(d *envelope.Document) { keyset(d).Keys = nil }, false},
		{"primary that names an unknown key", func(d *envelope.Document) { keyset(d).Primaries[0].KeyID = id(99) }, false},
		{"key of state 0", func(d *envelope.Document) { keyset(d).Keys[0].State = 0 }, false},
		{"key of state 5", func(d *envelope.Document) { keyset(d).Keys[0].State = 5 }, false},
		{"destroyed key with wrapped bytes", func(d *envelope.Document) { keyset(d).Keys[0].State = envelope.Destroyed }, false},
		{"key with 59 wrapped bytes", func(d *envelope.Document) { keyset(d).Keys[0].Wrapped = make([]byte, 59) }, false},
		{"key before 1970", func(d *envelope.Document) { keyset(d).Keys[0].CreatedAt = -1 }, false},
		{"duplicate key", func(d *envelope.Document) { keyset(d).Keys = append(keyset(d).Keys, keyset(d).Keys[0]) }, false},
		{"keys not sorted", func(d *envelope.Document) { keyset(d).Keys = []envelope.Key{newKey(9), newKey(1)} }, false},
		{"keys sorted", func(d *envelope.Document) { keyset(d).Keys = []envelope.Key{newKey(1), newKey(9)} }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := full(t)
			c.change(d)
			if c.ok {
				require.NoError(t, d.Check())
				encode(t, d)
				return
			}
			require.ErrorIs(t, d.Check(), envelope.ErrInvalid)
			b, err := d.Append([]byte("kept"))
			require.ErrorIs(t, err, envelope.ErrInvalid)
			require.Equal(t, "kept", string(b))
		})
	}
}

func TestAddSlotRefusesInvalidSlots(t *testing.T) {
	d := newDocument()
	for _, b := range []byte{5, 1, 9, 3} {
		require.NoError(t, d.AddSlot(newSlot(b)))
		require.NoError(t, d.Check())
	}
	require.Equal(t, [][16]byte{{1}, {3}, {5}, {9}}, [][16]byte{d.Slots[0].ID, d.Slots[1].ID, d.Slots[2].ID, d.Slots[3].ID})
	before := encode(t, d)
	require.ErrorIs(t, d.AddSlot(newSlot(3)), envelope.ErrInvalid, "the ID is in use")
	bad := newSlot(4)
	bad.Wrapped = nil
	require.ErrorIs(t, d.AddSlot(bad), envelope.ErrInvalid)
	require.Equal(t, before, encode(t, d), "a refused slot must not change the document")
	for i := 0; len(d.Slots) < 256; i++ {
		require.NoError(t, d.AddSlot(numberedSlot(i)))
	}
	require.ErrorIs(t, d.AddSlot(newSlot(200)), envelope.ErrInvalid, "a 257th")
}

func TestKeysetFindsUseAndClass(t *testing.T) {
	d := full(t)
	for i := range d.Keysets {
		require.Same(t, &d.Keysets[i], d.Keyset(d.Keysets[i].Use, d.Keysets[i].Class))
	}
	require.Nil(t, d.Keyset(0, classify.PHI))
	require.Nil(t, newDocument().Keyset(format.UseCache, classify.PHI))
}

// Exactly as many keys can be added as RemainingRotations returns, whether a keyset or the document is full first.
func TestRemainingRotationsIsExact(t *testing.T) {
	n := 0
	for _, keysets := range []int{1, 2, 10} {
		d := &envelope.Document{Environment: "test", Owner: "o"}
		round := func() error {
			for i := range keysets {
				n++
				k := newKey(0)
				k.ID = format.KeyID{byte(n), byte(n >> 8)}
				if err := d.AddKey(format.Use(2+i/5), classify.All[i%5], k); err != nil {
					return err
				}
			}
			require.NoError(t, d.Sign(authenticator))
			_, err := d.Append(nil)
			return err
		}
		require.NoError(t, round())
		room := d.RemainingRotations()
		require.Equal(t, map[int]int{1: 1023, 2: 699, 10: 138}[keysets], room)
		for range room {
			require.NoError(t, round())
		}
		require.Zero(t, d.RemainingRotations())
		require.Error(t, round())
	}
}
