package envelope_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/fuzztest"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func TestFuzzTargetsHaveSeeds(t *testing.T) { fuzztest.RequireSeeds(t) }

// FuzzDocument checks that a document that parses is encoded again byte for byte, that parsing allocates no more memory
// than the length of the input justifies, and that the document merges with itself.
func FuzzDocument(f *testing.F) {
	b, _ := newDocument().Append(nil)
	f.Add(b)
	f.Add([]byte("CFK\x01\x00\x00\x00\x01o\x00\x40\x10\x00"))
	f.Add([]byte("CFK\x01\x00\x00\x00\x01o\x00\x00\x00\x00\x00\x00\x00\x1e"))
	f.Add([]byte("CFK\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d *envelope.Document
		var err error
		fuzztest.Bounded(t, 64*len(b)+64<<10, func() { d, err = envelope.ParseDocument(b) })
		if err != nil {
			require.Nil(t, d)
			return
		}
		again, err := d.Append(nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, again))
		merged, err := envelope.Merge(d, d)
		require.NoError(t, err)
		again, err = merged.Append(again[:0])
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, again))
	})
}

// FuzzDocumentBuilt checks that a document that was built is encoded and parsed back unchanged.
func FuzzDocumentBuilt(f *testing.F) {
	f.Add(uint64(1), "test", "clinic", "awskms://key", uint32(600_000), []byte("wrapped"))
	f.Add(uint64(2), "", "\xff", "", uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, environment, owner, url string, iterations uint32, wrapped []byte) {
		d := randomDocument(t, rand.New(rand.NewPCG(seed, 0)))
		d.Environment, d.Owner = environment, owner
		for i := range d.Slots {
			switch d.Slots[i].Kind {
			case envelope.SlotPassword:
				d.Slots[i].Iterations = iterations
			case envelope.SlotKMS:
				d.Slots[i].URL = url
				d.Slots[i].Wrapped = bytes.Clone(wrapped)
			}
		}
		b, err := d.Append(nil)
		if invalid := d.Check(); invalid != nil {
			require.Equal(t, invalid, err)
			require.Empty(t, b)
			return
		}
		require.NoError(t, err)
		got, err := envelope.ParseDocument(b)
		require.NoError(t, err)
		require.Equal(t, d, got)
	})
}

// FuzzSlot checks that a slot that parses is encoded again byte for byte and can be added to a document.
func FuzzSlot(f *testing.F) {
	slot := newSlot(1)
	slot.MAC[0] = 1
	f.Add(slot.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		slot, err := envelope.ParseSlot(b)
		if err != nil {
			require.Zero(t, slot)
			return
		}
		require.True(t, bytes.Equal(b, slot.Append(nil)))
		require.NoError(t, newDocument().AddSlot(slot))
	})
}
