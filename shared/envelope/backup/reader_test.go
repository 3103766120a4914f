package backup_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/fuzztest"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/envelope/backup"
	"github.com/coffer-storage/coffer/shared/format"
)

// authenticator returns a MAC of ones.
func authenticator(*envelope.Record) ([envelope.MACSize]byte, bool) {
	return [envelope.MACSize]byte(bytes.Repeat([]byte{1}, envelope.MACSize)), true
}

func TestFuzzTargetsHaveSeeds(t *testing.T) { fuzztest.RequireSeeds(t) }

func newBackup(t testing.TB) *envelope.Backup {
	b := &envelope.Backup{Environment: "test", CreatedAt: 5}
	place := b.SlotDocument()
	for n := byte(1); n <= 2; n++ {
		require.NoError(t, place.AddSlot(envelope.Slot{
			ID: [16]byte{n}, Kind: envelope.SlotKMS, Root: envelope.Root{Generation: 1, ID: format.KeyID{7}}, URL: "kms://x", Wrapped: []byte{n},
		}))
	}
	require.NoError(t, place.Sign(authenticator))
	b.Slots = place.Slots
	return b
}

// backupFile returns a complete file with a MAC of ones.
func backupFile(t testing.TB, b *envelope.Backup, documents ...*envelope.Document) []byte {
	file, err := b.Append(nil)
	require.NoError(t, err)
	for _, d := range documents {
		encoded, err := d.Append(nil)
		require.NoError(t, err)
		file = envelope.AppendBackupDocument(file, encoded)
	}
	file = envelope.AppendBackupDocument(file, nil)
	return append(file, bytes.Repeat([]byte{1}, envelope.MACSize)...)
}

// readBackup reads a file to its end. It returns the header, the documents and the bytes that the MAC authenticates.
func readBackup(file []byte) (b *backup.Reader, documents []*envelope.Document, content []byte, err error) {
	if b, err = backup.Open(bytes.NewReader(file)); err != nil {
		return nil, nil, nil, err
	}
	var tee bytes.Buffer
	b.Tee(&tee)
	for {
		d, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, nil, err
		}
		documents = append(documents, d)
	}
	if _, err = b.MAC(); err != nil {
		return nil, nil, nil, err
	}
	return b, documents, tee.Bytes(), nil
}

func TestReaderReadsWholeFilesOnly(t *testing.T) {
	a, b := &envelope.Document{Environment: "test", Owner: "b"}, &envelope.Document{Environment: "test", Owner: "a"}
	file := backupFile(t, newBackup(t), a, b)
	header, documents, content, err := readBackup(file)
	require.NoError(t, err)
	require.Equal(t, *newBackup(t), header.Backup)
	require.Equal(t, []*envelope.Document{a, b}, documents)
	require.Equal(t, file[:len(file)-envelope.MACSize], content)
	for n := range file {
		_, _, _, err := readBackup(file[:n])
		require.ErrorIs(t, err, envelope.ErrMalformed, "truncated to %d bytes", n)
	}
	_, _, _, err = readBackup(append(bytes.Clone(file), 0))
	require.ErrorIs(t, err, envelope.ErrMalformed)
	file[3] = 2
	_, _, _, err = readBackup(file)
	require.ErrorIs(t, err, envelope.ErrUnsupportedVersion)
}

// Append refuses a header that Open would refuse.
func TestAppendRefusesInvalidHeaders(t *testing.T) {
	for name, change := range map[string]func(b *envelope.Backup){
		"no slot":                      func(b *envelope.Backup) { b.Slots = nil },
		"slot of a password":           func(b *envelope.Backup) { b.Slots[0].Kind = envelope.SlotPassword },
		"slot without a MAC":           func(b *envelope.Backup) { b.Slots[0].MAC = [envelope.MACSize]byte{} },
		"slots of a line":              func(b *envelope.Backup) { b.Slots[0].Root.Line[0], b.Slots[1].Root.Line[0] = 1, 1 },
		"slots of generation 2":        func(b *envelope.Backup) { b.Slots[0].Root.Generation, b.Slots[1].Root.Generation = 2, 2 },
		"slots of two keys":            func(b *envelope.Backup) { b.Slots[1].Root.ID[0]++ },
		"slot twice":                   func(b *envelope.Backup) { b.Slots[1] = b.Slots[0] },
		"time before 1970":             func(b *envelope.Backup) { b.CreatedAt = -1 },
		"environment that is not text": func(b *envelope.Backup) { b.Environment = "\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackup(t)
			change(b)
			_, err := b.Append(nil)
			require.ErrorIs(t, err, envelope.ErrInvalid)
		})
	}
}

// FuzzBackup checks that the parts of a file are encoded again byte for byte, and that reading allocates no more memory
// than the largest document and the length of the input justify.
func FuzzBackup(f *testing.F) {
	f.Add(backupFile(f, newBackup(f), &envelope.Document{Environment: "test", Owner: "a"}))
	f.Add([]byte("CFB\x01"))
	f.Add(append([]byte("CFB\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"), make([]byte, envelope.MACSize)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		var b *backup.Reader
		var documents []*envelope.Document
		var content []byte
		var err error
		fuzztest.Bounded(t, 64*len(file)+envelope.MaxDocument+256<<10, func() { b, documents, content, err = readBackup(file) })
		if err != nil {
			return
		}
		again, err := b.Append(nil)
		require.NoError(t, err)
		for _, d := range documents {
			encoded, err := d.Append(nil)
			require.NoError(t, err)
			again = envelope.AppendBackupDocument(again, encoded)
		}
		require.True(t, bytes.Equal(content, envelope.AppendBackupDocument(again, nil)))
	})
}
