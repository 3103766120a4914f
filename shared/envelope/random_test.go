package envelope_test

import (
	"bytes"
	"crypto/sha256"
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

// newRandom returns a random generator and logs its seed. To repeat a failed run, set COFFER_SEED to that seed.
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

// id returns the key id with all bytes equal to b.
func id(b byte) (k format.KeyID) {
	for i := range k {
		k[i] = b
	}
	return k
}

// wrapped returns a wrapped key of WrappedSize bytes.
func wrapped(b byte) []byte { return slices.Repeat([]byte{b}, envelope.WrappedSize) }

func newKey(b byte) envelope.Key {
	return envelope.Key{ID: id(b), State: envelope.Enabled, CreatedAt: 1, Root: newRoot(1), Wrapped: wrapped(b)}
}

func newSlot(b byte) envelope.Slot {
	return envelope.Slot{
		ID: [16]byte{b}, Kind: envelope.SlotMasterKey, Root: newRoot(1), KeyID: id(b), Wrapped: wrapped(b),
	}
}

// newRoot returns a root of line 1 with the given generation.
func newRoot(generation uint32) envelope.Root { return rootOf(1, generation) }

// rootOf returns a root of a line and generation.
func rootOf(line byte, generation uint32) envelope.Root {
	return envelope.Root{Line: [16]byte{line}, Generation: generation, ID: id(100 + 10*line + byte(generation))}
}

// authenticator uses a plain digest in place of HMAC-SHA256, because these tests need no secret.
func authenticator(r *envelope.Record) ([envelope.MACSize]byte, bool) {
	return sha256.Sum256(slices.Concat([]byte{map[bool]byte{true: 1}[r.Shred]}, r.Root.ID[:], r.Message)), true
}

// numberedSlot returns one of 65,536 slots. Their ids differ from those of newSlot.
func numberedSlot(n int) envelope.Slot {
	s := newSlot(0)
	s.KeyID, s.ID = id(1), [16]byte{7, 1, byte(n >> 8), byte(n)}
	return s
}

func newDocument() *envelope.Document {
	return &envelope.Document{Environment: "test", Owner: "clinic"}
}

// randomDocument returns a random document. It draws from few ids, so that two documents share many ids, in different
// states, under different roots, and with different bytes and epochs.
func randomDocument(t *testing.T, r *rand.Rand) *envelope.Document {
	d := newDocument()
	for b := byte(1); b <= 6; b++ {
		if r.IntN(3) > 0 {
			d.Slots = append(d.Slots, randomSlot(r, b))
		} else if s := randomSlot(r, b); r.IntN(2) == 0 {
			d.Retired = append(d.Retired, envelope.RetiredSlot{ID: s.ID, Root: s.Root})
		}
	}
	slices.SortFunc(d.Retired, func(a, b envelope.RetiredSlot) int {
		return bytes.Compare(slices.Concat(a.Root.Line[:], []byte{byte(a.Root.Generation)}, a.ID[:]), slices.Concat(b.Root.Line[:], []byte{byte(b.Root.Generation)}, b.ID[:]))
	})
	for line := byte(1); line <= 3; line++ {
		if r.IntN(6) == 0 {
			d.Shreds = append(d.Shreds, envelope.ShredRecord{Line: [16]byte{line}, ShreddedAt: r.Int64N(3)})
		}
	}
	for use := format.UseStorage; use <= format.NumUses; use += 2 {
		for _, class := range classify.All {
			if r.IntN(3) > 0 {
				d.Keysets = append(d.Keysets, randomKeyset(r, use, class))
			}
		}
	}
	d.RemoveVoid()
	require.NoError(t, d.Sign(authenticator))
	require.NoError(t, d.Check())
	return d
}

func randomSlot(r *rand.Rand, b byte) envelope.Slot {
	s := newSlot(b)
	s.CreatedAt, s.Root, s.Wrapped = r.Int64N(3), rootOf(1+b%2, 1+uint32(b)/3), wrapped(byte(r.IntN(3))) // the root of a slot never changes
	switch b {
	case 1:
		s.Kind, s.Iterations, s.Salt = envelope.SlotPassword, 600_000, format.Salt{byte(r.IntN(3))}
	case 2:
		s.Kind, s.URL, s.KeyID, s.Wrapped = envelope.SlotKMS, "awskms://key", format.KeyID{}, make([]byte, 1+r.IntN(200))
	}
	if b == 3 {
		s.Kind, s.Parameters, s.Wrapped = envelope.SlotKind(100), bytes.Repeat([]byte{1}, 1+r.IntN(3)), nil
	}
	return s
}

func randomKeyset(r *rand.Rand, use format.Use, class classify.Class) envelope.Keyset {
	s := envelope.Keyset{Use: use, Class: class}
	for b := range 5 {
		if r.IntN(2) == 0 && !(b == 4 && len(s.Keys) == 0) {
			continue
		}
		k := newKey(byte(b))
		k.ID[0], k.ID[1] = byte(use), byte(class)
		line := 1 + byte(b)%2 // the line of a key never changes
		k.CreatedAt, k.Root, k.Wrapped = r.Int64N(3), rootOf(line, 1+r.Uint32N(3)), wrapped(byte(r.IntN(3)))
		if k.State = envelope.State(1 + r.IntN(4)); k.State == envelope.Destroyed {
			k.Wrapped = nil
		}
		s.Keys = append(s.Keys, k)
	}
	for line := byte(1); line <= 2; line++ {
		var of []envelope.Key
		for _, k := range s.Keys {
			if k.Root.Line[0] == line {
				of = append(of, k)
			}
		}
		if len(of) > 0 {
			s.Primaries = append(s.Primaries, envelope.Primary{
				Root: rootOf(line, 1+r.Uint32N(3)), Epoch: 1 + r.Uint32N(3), KeyID: of[r.IntN(len(of))].ID,
			})
		}
	}
	return s
}

// encode signs the document and encodes it.
func encode(t *testing.T, d *envelope.Document) string {
	require.NoError(t, d.Sign(authenticator))
	b, err := d.Append(nil)
	require.NoError(t, err)
	return string(b)
}

// full returns a document with a slot of every kind and a key of every use and class.
func full(t *testing.T) *envelope.Document {
	d := newDocument()
	for kind := envelope.SlotPassword; kind <= envelope.SlotRecipient+1; kind++ {
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
	for use := format.UseStorage; use <= format.UseFile; use++ {
		for _, class := range classify.All {
			require.NoError(t, d.AddKey(use, class, newKey(b)))
			b++
		}
	}
	for use := envelope.UseNames; use <= envelope.UseAudit; use++ {
		require.NoError(t, d.AddKey(use, 0, newKey(b)))
		b++
	}
	require.NoError(t, d.Sign(authenticator))
	return d
}
