package envelope_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// newRandom returns a generator whose seed is printed where a test fails; COFFER_SEED repeats it.
func newRandom(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COFFER_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("COFFER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// id makes the id whose bytes are all b.
func id(b byte) (k format.KeyID) {
	for i := range k {
		k[i] = b
	}
	return k
}

// wrapped makes a wrapped key of our own size.
func wrapped(b byte) []byte { return slices.Repeat([]byte{b}, envelope.WrappedSize) }

func newKey(b byte) envelope.Key {
	return envelope.Key{ID: id(b), State: envelope.Enabled, CreatedAt: 1, RootID: id(200), Wrapped: wrapped(b)}
}

func newSlot(b byte) envelope.Slot {
	return envelope.Slot{
		ID: [16]byte{b}, Kind: envelope.SlotMasterKey, State: envelope.Enabled, RootID: id(200), KeyID: id(b), Wrapped: wrapped(b),
	}
}

// numberedSlot is one of 65536, none of which is newSlot's.
func numberedSlot(n int) envelope.Slot {
	s := newSlot(0)
	s.KeyID, s.ID = id(1), [16]byte{7, 1, byte(n >> 8), byte(n)}
	return s
}

func newDocument() *envelope.Document {
	return &envelope.Document{Environment: "test", Owner: "clinic"}
}

// randomDocument draws a document of one owner out of so few ids that two documents share many of them, in
// different states, under different roots, with different bytes and epochs.
func randomDocument(t *testing.T, r *rand.Rand) *envelope.Document {
	d := newDocument()
	for b := byte(1); b <= 4; b++ {
		if r.IntN(3) > 0 {
			d.Slots = append(d.Slots, randomSlot(r, b))
		}
	}
	for use := format.UseStorage; use <= format.Uses; use += 2 {
		for _, class := range classify.All {
			if r.IntN(3) > 0 {
				d.Keysets = append(d.Keysets, randomKeyset(r, use, class))
			}
		}
	}
	require.NoError(t, d.Check())
	return d
}

func randomSlot(r *rand.Rand, b byte) envelope.Slot {
	s := newSlot(b)
	s.CreatedAt, s.RootID, s.Wrapped = r.Int64N(3), id(200+byte(r.IntN(3))), wrapped(byte(r.IntN(3)))
	switch b {
	case 1:
		s.Kind, s.Iterations, s.Salt = envelope.SlotPassword, 600_000, format.Salt{byte(r.IntN(3))}
	case 2:
		s.Kind, s.URL, s.KeyID, s.Wrapped = envelope.SlotKMS, "awskms://key", format.KeyID{}, make([]byte, 1+r.IntN(200))
	}
	if r.IntN(4) == 0 {
		s.State, s.Wrapped = envelope.Destroyed, nil
	}
	return s
}

func randomKeyset(r *rand.Rand, use format.Use, class classify.Class) envelope.Keyset {
	s := envelope.Keyset{Use: use, Class: class, Epoch: 1 + r.Uint32N(3)}
	for b := range 5 {
		if r.IntN(2) == 0 && !(b == 4 && len(s.Keys) == 0) {
			continue
		}
		k := newKey(byte(b))
		k.ID[0], k.ID[1] = byte(use), byte(class)
		k.CreatedAt, k.RootID, k.Wrapped = r.Int64N(3), id(200+byte(r.IntN(3))), wrapped(byte(r.IntN(3)))
		if k.State = envelope.State(1 + r.IntN(4)); k.State == envelope.Destroyed {
			k.Wrapped = nil
		}
		s.Keys = append(s.Keys, k)
	}
	s.Primary = s.Keys[r.IntN(len(s.Keys))].ID
	return s
}

func encode(t *testing.T, d *envelope.Document) string {
	b, err := d.Append(nil)
	require.NoError(t, err)
	return string(b)
}

// full is a document with a slot of every kind and a key of every use and class.
func full(t *testing.T) *envelope.Document {
	d := newDocument()
	for kind := envelope.SlotPassword; kind <= envelope.SlotKMS; kind++ {
		s := newSlot(byte(kind))
		s.Kind = kind
		switch kind {
		case envelope.SlotPassword:
			s.Iterations, s.Salt = 600_000, format.Salt{9}
		case envelope.SlotKMS:
			s.URL, s.KeyID = "base64key://", format.KeyID{}
		}
		require.NoError(t, d.AddSlot(s))
	}
	b := byte(1)
	for use := format.UseStorage; use <= format.Uses; use++ {
		for _, class := range classify.All {
			require.NoError(t, d.AddKey(use, class, newKey(b)))
			b++
		}
	}
	return d
}
