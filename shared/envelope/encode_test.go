package envelope_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestDocumentLayout(t *testing.T) {
	d := &envelope.Document{Environment: "dev", Owner: "o"}
	slot := newSlot(1)
	slot.Kind, slot.Iterations, slot.Salt, slot.CreatedAt = envelope.SlotPassword, 600_000, format.Salt{0: 3, 15: 4}, 258
	require.NoError(t, d.AddSlot(slot))
	require.NoError(t, d.AddKey(format.UseStorage, classify.PHI, newKey(2)))
	rep := func(b byte, n int) string { return string(bytes.Repeat([]byte{b}, n)) }
	d.Shreds = []envelope.ShredRecord{{Line: [16]byte{7}, ShreddedAt: 3}}
	d.Retired = []envelope.RetiredSlot{{ID: [16]byte{5}, Root: newRoot(1)}, {ID: [16]byte{6}, Root: newRoot(1)}}
	require.NoError(t, d.Sign(authenticator))
	mac := func(message string) string {
		root := newRoot(1)
		sum := sha256.Sum256([]byte("\x00" + string(root.ID[:]) + message))
		return string(sum[:])
	}
	place := "\x00\x03dev\x00\x01o"
	root := "\x01" + rep(0, 15) + "\x00\x00\x00\x01" + rep(111, 32)
	slotBytes := "\x01" + rep(0, 15) + "\x01" + rep(0, 6) + "\x01\x02" + root + rep(1, 32) +
		"\x03" + rep(0, 14) + "\x04" + "\x00\x09\x27\xc0" + "\x00\x00" + "\x00\x00" + "\x00\x3c" + rep(1, 60)
	slotMAC := mac("\x00\x15coffer/v1 slot record" + place + slotBytes)
	retired := func(b string) string {
		return b + rep(0, 15) + mac("\x00\x1dcoffer/v1 retired slot record" + place + b + rep(0, 15) + root)[:16]
	}
	shred := "\x07" + rep(0, 15) + rep(0, 7) + "\x03"
	shredMAC := sha256.Sum256([]byte("\x01" + rep(0, 32) + "\x00\x16coffer/v1 shred record" + place + shred))
	primary := root + "\x00\x00\x00\x01" + rep(2, 32)
	key := rep(2, 32) + "\x01" + rep(0, 7) + "\x01" + root + "\x00\x3c" + rep(2, 60)
	keysetBytes := "\x01\x05" + "\x00\x01" + primary + mac("\x00\x18coffer/v1 primary record"+place+"\x01\x05"+primary) +
		"\x00\x01" + key + mac("\x00\x14coffer/v1 key record"+place+"\x01\x05"+key)
	want := "CFK\x01" + "\x00\x03dev" + "\x00\x01o" + "\x00\x01" + slotBytes + slotMAC +
		"\x00\x01" + root + "\x00\x02" + retired("\x05") + retired("\x06") +
		"\x00\x01" + shred + string(shredMAC[:]) + "\x00\x01" + keysetBytes
	require.Equal(t, want, encode(t, d))
	require.Equal(t, slotBytes+slotMAC, string(d.Slots[0].Append(nil)))
}

func TestDocumentRoundTrip(t *testing.T) {
	r := newRandom(t)
	documents := []*envelope.Document{full(t), newDocument()}
	for range 500 {
		documents = append(documents, randomDocument(t, r))
	}
	for _, d := range documents {
		b, err := d.Append([]byte("kept"))
		require.NoError(t, err)
		require.Equal(t, "kept", string(b[:4]))
		got, err := envelope.ParseDocument(b[4:])
		require.NoError(t, err)
		require.Equal(t, d, got)
		clear(b)
		require.Equal(t, d, got, "a document must not alias its input")
	}
}

func TestParseDocumentRefusesInvalidBytes(t *testing.T) {
	good := []byte(encode(t, full(t)))
	for n := range good {
		_, err := envelope.ParseDocument(good[:n])
		require.ErrorIs(t, err, envelope.ErrMalformed, "%d of %d bytes", n, len(good))
	}
	_, err := envelope.ParseDocument(append(bytes.Clone(good), 0))
	require.ErrorIs(t, err, envelope.ErrMalformed, "trailing byte")
	for version := range 256 {
		b := bytes.Clone(good)
		b[3] = byte(version)
		if _, err = envelope.ParseDocument(b); version != 1 {
			require.ErrorIs(t, err, envelope.ErrUnsupportedVersion)
		}
	}
	for i := range 3 {
		b := bytes.Clone(good)
		b[i] ^= 1
		_, err = envelope.ParseDocument(b)
		require.ErrorIs(t, err, envelope.ErrMalformed)
	}
	_, err = envelope.ParseDocument(make([]byte, envelope.MaxDocument))
	require.ErrorIs(t, err, envelope.ErrMalformed)
	_, err = envelope.ParseDocument(make([]byte, envelope.MaxDocument+1))
	require.ErrorIs(t, err, envelope.ErrTooLarge)
}

// A document with one byte changed is refused, or is the encoding of another document.
func TestDocumentHasOneEncoding(t *testing.T) {
	d := planned(t)
	require.NoError(t, d.AddSlot(newSlot(1)))
	b := []byte(encode(t, d))
	for i := range b {
		for _, delta := range []byte{1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff} {
			changed := bytes.Clone(b)
			changed[i] ^= delta
			got, err := envelope.ParseDocument(changed)
			if err != nil {
				continue
			}
			require.Equal(t, string(changed), encode(t, got), "byte %d", i)
		}
	}
}

func TestAppendRefusesDocumentsOverLimit(t *testing.T) {
	d := newDocument()
	add := func(class classify.Class, n int) {
		for i := range n {
			k := newKey(byte(class))
			k.ID[0], k.ID[1] = byte(i>>8), byte(i)
			require.NoError(t, d.AddKey(format.UseCache, class, k))
		}
	}
	add(classify.PHI, 1024)
	require.NoError(t, d.Sign(authenticator))
	require.LessOrEqual(t, len(encode(t, d)), envelope.MaxDocument)
	add(classify.PII, 600)
	require.NoError(t, d.Sign(authenticator))
	b, err := d.Append([]byte("kept"))
	require.ErrorIs(t, err, envelope.ErrTooLarge)
	require.Equal(t, "kept", string(b))
}

// A count over its limit is refused before memory is allocated for the list.
func TestParseDocumentChecksCountsBeforeAllocating(t *testing.T) {
	for _, counts := range []string{"\x01\x01", "\xff\xff", "\x00\x00\x10\x01", "\x00\x00\x00\x00\x00\x41", "\x00\x00\x00\x00\x00\x00\x00\x1f", "\x00\x00\x00\x00\x00\x00\xff\xff"} {
		_, err := envelope.ParseDocument([]byte("CFK\x01\x00\x00\x00\x01o" + counts))
		require.ErrorIs(t, err, envelope.ErrMalformed)
	}
}

func TestParseSlotAcceptsUnsignedSlots(t *testing.T) {
	for _, slot := range full(t).Slots {
		b := slot.Append(nil)
		got, err := envelope.ParseSlot(b)
		require.NoError(t, err)
		require.Equal(t, slot, got)
		for n := range b {
			got, err = envelope.ParseSlot(b[:n])
			require.ErrorIs(t, err, envelope.ErrMalformed)
			require.Zero(t, got)
		}
		_, err = envelope.ParseSlot(append(b, 0))
		require.ErrorIs(t, err, envelope.ErrMalformed)
	}
	bad := newSlot(1)
	bad.Kind = envelope.SlotPassword // without iterations
	_, err := envelope.ParseSlot(bad.Append(nil))
	require.ErrorIs(t, err, envelope.ErrMalformed)
}
