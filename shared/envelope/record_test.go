package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A reader with the root refuses a document if any field was changed without the root.
func TestVerifyRefusesChangedFields(t *testing.T) {
	attacks := map[string]func(d *envelope.Document){
		"compromised to enabled":  func(d *envelope.Document) { d.Keysets[0].Keys[0].State = envelope.Enabled },
		"enabled to compromised":  func(d *envelope.Document) { d.Keysets[0].Keys[1].State = envelope.Compromised },
		"enabled to disabled":     func(d *envelope.Document) { d.Keysets[0].Keys[1].State = envelope.Disabled },
		"forged destruction":      func(d *envelope.Document) { k := &d.Keysets[0].Keys[1]; k.State, k.Wrapped = envelope.Destroyed, nil },
		"key's age":               func(d *envelope.Document) { d.Keysets[0].Keys[1].CreatedAt = 1 << 40 },
		"key's generation":        func(d *envelope.Document) { d.Keysets[0].Keys[1].Root.Generation++ },
		"key's wrapped bytes":     func(d *envelope.Document) { d.Keysets[0].Keys[1].Wrapped[0]++ },
		"another primary":         func(d *envelope.Document) { d.Keysets[0].Primaries[0].KeyID = d.Keysets[0].Keys[0].ID },
		"last epoch":              func(d *envelope.Document) { d.Keysets[0].Primaries[0].Epoch = 1<<32 - 1 },
		"primary's generation":    func(d *envelope.Document) { d.Keysets[0].Primaries[0].Root.Generation++ },
		"keyset of another class": func(d *envelope.Document) { d.Keysets[0].Class = classify.PII },
		"keyset of another use":   func(d *envelope.Document) { d.Keysets[0].Use = format.UseField },
		"slot's age":              func(d *envelope.Document) { d.Slots[0].CreatedAt++ },
		"slot's URL":              func(d *envelope.Document) { d.Slots[0].URL = "kms://attacker" },
		"slot's kind":             func(d *envelope.Document) { d.Slots[0].Kind = 99 },
		"slot's wrapped bytes":    func(d *envelope.Document) { d.Slots[0].Wrapped = []byte{9} },
		"slot's id":               func(d *envelope.Document) { d.Slots[0].ID[1]++ },
		"slot's parameters":       func(d *envelope.Document) { d.Slots[0].Kind, d.Slots[0].Parameters = 99, []byte{1} },
		"slot of the attacker": func(d *envelope.Document) {
			s := lifeSlot(7)
			s.MAC[0] = 1
			_ = d.AddSlot(s)
		},
		"forged tombstone": func(d *envelope.Document) {
			_ = d.RetireSlot(d.Slots[0].ID)
			d.Retired[0].MAC[0] = 1
		},
		"forged shredding": func(d *envelope.Document) {
			_ = d.Shred(5)
			d.Shreds[0].MAC[0] = 1
		},
		"shredding of another line": func(d *envelope.Document) { d.Shreds = []envelope.ShredRecord{{Line: [16]byte{9}, MAC: [32]byte{1}}} },
		"another owner":             func(d *envelope.Document) { d.Owner = "other" },
		"another environment":       func(d *envelope.Document) { d.Environment = "prod" },
	}
	victim := func() *envelope.Document {
		d := lived(t)
		require.NoError(t, d.Advance(format.UseCache, classify.PHI, format.KeyID{1}, envelope.Compromised))
		require.NoError(t, d.Sign(authenticator))
		return d
	}
	require.NoError(t, victim().Verify(authenticator))
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			d := victim()
			attack(d)
			b, err := d.Append(nil)
			if err != nil { // the change broke a rule
				require.ErrorIs(t, err, envelope.ErrInvalid)
				return
			}
			read, err := envelope.ParseDocument(b)
			require.NoError(t, err)
			require.ErrorIs(t, read.Verify(authenticator), envelope.ErrAuthentication)
		})
	}
}

// A document with a record that has no MAC is malformed.
func TestParseDocumentRefusesRecordsWithoutMAC(t *testing.T) {
	d := lived(t)
	n := 0
	for range d.Records {
		n++
	}
	for i := range n {
		d := lived(t)
		at := 0
		for r := range d.Records {
			if at++; at-1 == i {
				clear(r.MAC)
			}
		}
		_, err := d.Append(nil)
		require.ErrorIs(t, err, envelope.ErrInvalid)
		require.ErrorIs(t, d.Verify(authenticator), envelope.ErrAuthentication)
	}
}

// A reader verifies only the records under the roots that it opened.
func TestVerifySkipsOtherRoots(t *testing.T) {
	d := lived(t)
	d.Keysets[0].Keys[0].MAC[0]++
	none := func(*envelope.Record) (mac [envelope.MACSize]byte, ok bool) { return mac, false }
	require.NoError(t, d.Verify(none))
	d.Keysets[0].Keys[0].MAC = [envelope.MACSize]byte{}
	require.ErrorIs(t, d.Sign(none), envelope.ErrInvalid)
	require.NoError(t, d.Sign(authenticator))
	require.NoError(t, d.Verify(authenticator))
}

// The slot of a backup is not valid as a slot of the system document, although both have the same owner.
func TestBackupSlotIsNotASystemSlot(t *testing.T) {
	place := (&envelope.Backup{Environment: "test"}).SlotDocument()
	require.NoError(t, place.AddSlot(lifeSlot(1)))
	require.NoError(t, place.Sign(authenticator))
	require.NoError(t, place.Verify(authenticator))
	system := &envelope.Document{Environment: "test", Slots: place.Slots}
	require.ErrorIs(t, system.Verify(authenticator), envelope.ErrAuthentication)
}
