package envelope_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/fuzztest"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func newBackup(t testing.TB) *envelope.Backup {
	b := &envelope.Backup{Environment: "test", CreatedAt: 5}
	for n := byte(1); n <= 2; n++ {
		b.Slots = append(b.Slots, lifeSlot(n))
	}
	for _, owner := range []string{"a", "b"} {
		encoded, err := (&envelope.Document{Environment: "test", Owner: owner}).Append(nil)
		require.NoError(t, err)
		b.Documents = append(b.Documents, encoded)
	}
	return b
}

// A backup that ParseBackup would not read is not written.
func TestBackupRefuses(t *testing.T) {
	other, err := (&envelope.Document{Environment: "prod", Owner: "c"}).Append(nil)
	require.NoError(t, err)
	for name, change := range map[string]func(b *envelope.Backup){
		"no slot":                       func(b *envelope.Backup) { b.Slots = nil },
		"slot of a password":            func(b *envelope.Backup) { b.Slots[0].Kind = envelope.SlotPassword },
		"destroyed slot":                func(b *envelope.Backup) { b.Slots[0].State, b.Slots[0].Wrapped = envelope.Destroyed, nil },
		"slots of two keys":             func(b *envelope.Backup) { b.Slots[1].RootID[0]++ },
		"slot twice":                    func(b *envelope.Backup) { b.Slots[1] = b.Slots[0] },
		"owner twice":                   func(b *envelope.Backup) { b.Documents[1] = b.Documents[0] },
		"owners out of order":           func(b *envelope.Backup) { b.Documents[0], b.Documents[1] = b.Documents[1], b.Documents[0] },
		"document of another":           func(b *envelope.Backup) { b.Documents = append(b.Documents, other) },
		"no document":                   func(b *envelope.Backup) { b.Documents[0] = nil },
		"a time that is none":           func(b *envelope.Backup) { b.CreatedAt = -1 },
		"an environment of no encoding": func(b *envelope.Backup) { b.Environment = "\xff" },
	} {
		b := newBackup(t)
		change(b)
		_, err := b.AppendContent(nil)
		require.ErrorIs(t, err, envelope.ErrInvalid, name)
	}
	_, err = newBackup(t).AppendContent(nil)
	require.NoError(t, err)
}

// FuzzBackup: what parses is written again byte for byte, and parsing allocates no more than the input allows.
func FuzzBackup(f *testing.F) {
	content, err := newBackup(f).AppendContent(nil)
	require.NoError(f, err)
	f.Add(append(content, make([]byte, envelope.MACSize)...))
	f.Add([]byte("CFB\x01"))
	f.Add(append([]byte("CFB\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"), make([]byte, envelope.MACSize)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		var b *envelope.Backup
		var content []byte
		var err error
		fuzztest.Bounded(t, 16*len(file)+16<<10, func() { b, content, err = envelope.ParseBackup(file) })
		if err != nil {
			require.Nil(t, b)
			return
		}
		again, err := b.AppendContent(nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, again))
		require.True(t, bytes.Equal(file, append(again, b.MAC[:]...)))
	})
}
