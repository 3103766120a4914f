package envelope_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestAddKeyStartsNewEpoch(t *testing.T) {
	d := newDocument()
	for epoch, b := range []byte{5, 1, 9, 3} {
		require.NoError(t, d.AddKey(format.UseField, classify.PII, newKey(b)))
		require.NoError(t, d.Check())
		s := d.Keyset(format.UseField, classify.PII)
		require.Equal(t, id(b), s.Primary())
		require.EqualValues(t, epoch+1, s.Epoch())
		require.Len(t, s.Keys, epoch+1)
	}
}

func TestAddKeyKeepsKeysetsSorted(t *testing.T) {
	r := newRandom(t)
	for range 50 {
		d := newDocument()
		for b := range byte(30) {
			use, class := format.Use(1+r.IntN(format.NumUses)), classify.All[r.IntN(len(classify.All))]
			require.NoError(t, d.AddKey(use, class, newKey(b)))
			require.NoError(t, d.Check())
			require.Equal(t, id(b), d.Keyset(use, class).Primary())
		}
	}
}

func TestAddKeyRefusesInvalidKeys(t *testing.T) {
	with := func(change func(k *envelope.Key)) envelope.Key {
		k := newKey(9)
		change(&k)
		return k
	}
	for _, c := range []struct {
		name  string
		use   format.Use
		class classify.Class
		key   envelope.Key
	}{
		{"use 0", 0, classify.PHI, newKey(9)},
		{"use names with a class", envelope.UseNames, classify.PHI, newKey(9)},
		{"use 11", 11, 0, newKey(9)},
		{"key of generation 0", format.UseCache, classify.PHI, with(func(k *envelope.Key) { k.Root.Generation = 0 })},
		{"class 0", format.UseCache, 0, newKey(9)},
		{"class 6", format.UseCache, 6, newKey(9)},
		{"key that the keyset contains", format.UseCache, classify.PHI, newKey(1)},
		{"disabled key", format.UseCache, classify.PHI, with(func(k *envelope.Key) { k.State = envelope.Disabled })},
		{"destroyed key", format.UseCache, classify.PHI, with(func(k *envelope.Key) { k.State, k.Wrapped = envelope.Destroyed, nil })},
		{"key without wrapped bytes", format.UseCache, classify.PHI, with(func(k *envelope.Key) { k.Wrapped = nil })},
		{"key before 1970", format.UseCache, classify.PHI, with(func(k *envelope.Key) { k.CreatedAt = -1 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDocument()
			require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(1)))
			before := encode(t, d)
			require.ErrorIs(t, d.AddKey(c.use, c.class, c.key), envelope.ErrInvalid)
			require.Equal(t, before, encode(t, d), "a refused key must not change the document")
		})
	}
}

func TestAddKeyEnforcesLimits(t *testing.T) {
	d := newDocument()
	for i := range 1024 {
		k := newKey(0)
		k.ID[0], k.ID[1] = byte(i>>8), byte(i)
		require.NoError(t, d.AddKey(format.UseCache, classify.PHI, k))
	}
	require.ErrorIs(t, d.AddKey(format.UseCache, classify.PHI, newKey(255)), envelope.ErrInvalid, "key 1025")

	d = newDocument()
	require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(1)))
	d.Keysets[0].Primaries[0].Epoch = math.MaxUint32
	require.ErrorIs(t, d.AddKey(format.UseCache, classify.PHI, newKey(2)), envelope.ErrTooLarge, "epoch above the maximum")
}

func TestAdvanceAllowsLaterStatesOnly(t *testing.T) {
	states := []envelope.State{envelope.Enabled, envelope.Compromised, envelope.Disabled, envelope.Destroyed}
	for _, from := range states {
		for _, to := range append(states, 0, 5, 255) {
			for _, primary := range []bool{false, true} {
				d := newDocument()
				require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(1)))
				require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(2)))
				require.NoError(t, d.Advance(format.UseCache, classify.PHI, id(1), from))
				if primary {
					d.Keysets[0].Primaries[0].KeyID = id(1)
				}
				before := encode(t, d)
				err := d.Advance(format.UseCache, classify.PHI, id(1), to)
				allowed := to >= from && to <= envelope.Destroyed && !(primary && (to == envelope.Disabled || to == envelope.Destroyed))
				if !allowed {
					require.ErrorIs(t, err, envelope.ErrInvalid, "%d to %d, primary %t", from, to, primary)
					require.Equal(t, before, encode(t, d))
					continue
				}
				require.NoError(t, err, "%d to %d, primary %t", from, to, primary)
				require.NoError(t, d.Check())
				k := d.Keysets[0].Keys[0]
				require.Equal(t, to, k.State)
				require.Equal(t, to == envelope.Destroyed, len(k.Wrapped) == 0)
			}
		}
	}
}

func TestAdvanceRefusesUnknownKeys(t *testing.T) {
	d := newDocument()
	require.ErrorIs(t, d.Advance(format.UseCache, classify.PHI, id(1), envelope.Disabled), envelope.ErrUnknownKey)
	require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(2)))
	for _, b := range []byte{1, 3} {
		require.ErrorIs(t, d.Advance(format.UseCache, classify.PHI, id(b), envelope.Disabled), envelope.ErrUnknownKey)
	}
	require.ErrorIs(t, d.Advance(format.UseField, classify.PHI, id(2), envelope.Disabled), envelope.ErrUnknownKey)
}

// In any sequence of changes, states only advance, and the primary is never disabled or destroyed.
func TestStatesOnlyAdvance(t *testing.T) {
	r := newRandom(t)
	for range 200 {
		d := newDocument()
		last := map[format.KeyID]envelope.State{}
		next := byte(0)
		for range 60 {
			if next == 0 || r.IntN(5) == 0 {
				next++
				require.NoError(t, d.AddKey(format.UseCache, classify.PHI, newKey(next)))
			}
			_ = d.Advance(format.UseCache, classify.PHI, id(1+byte(r.IntN(int(next)))), envelope.State(r.IntN(6)))
			require.NoError(t, d.Check())
			s := d.Keyset(format.UseCache, classify.PHI)
			for _, k := range s.Keys {
				require.GreaterOrEqual(t, k.State, last[k.ID])
				last[k.ID] = k.State
			}
			require.NotContains(t, []envelope.State{envelope.Disabled, envelope.Destroyed}, last[s.Primary()])
		}
	}
}

func TestBindingLayout(t *testing.T) {
	d := newDocument()
	key := d.KeyBinding(format.UseFile, uint8(classify.PHI), id(7))
	want := "\x00\x15coffer/v1 wrapped key\x00\x04test\x00\x06clinic"
	require.Equal(t, want+"\x05\x05"+string(bytes.Repeat([]byte{7}, 32)), string(key.Append(nil)))
	root := d.RootBinding(envelope.Root{Line: [16]byte{5}, Generation: 6, ID: id(7)})
	line := "\x05" + strings.Repeat("\x00", 15)
	require.Equal(t, "kept"+want+"\x00\x00"+line+"\x00\x00\x00\x06"+string(bytes.Repeat([]byte{7}, 32)), string(root.Append([]byte("kept"))))
}

// Different bindings have different encodings, even if text moves from one field to another.
func TestBindingIsInjective(t *testing.T) {
	r := newRandom(t)
	seen := map[string]envelope.Binding{}
	texts := []string{"", "a", "aa", "a\x00", "\x00", "\x00\x00", "\x00\x01a", "\x00\x01", "é"}
	for range 50000 {
		b := envelope.Binding{
			Environment: texts[r.IntN(len(texts))], Owner: texts[r.IntN(len(texts))],
			Use: format.Use(r.IntN(6)), Class: uint8(r.IntN(6)), ID: id(byte(r.IntN(2))),
		}
		if b.Use == 0 {
			b.Line[r.IntN(16)], b.Generation = byte(r.IntN(2)), uint32(r.IntN(3))
		}
		data := string(b.Append(nil))
		if other, ok := seen[data]; ok {
			require.Equal(t, other, b)
		}
		seen[data] = b
		parsed, err := envelope.ParseBinding([]byte(data))
		require.NoError(t, err)
		require.Equal(t, b, parsed)
		for _, other := range []string{data[:r.IntN(len(data))], data + "\x00", "\x00" + data, strings.Replace(data, "v1", "v2", 1)} {
			_, err := envelope.ParseBinding([]byte(other))
			require.ErrorIs(t, err, envelope.ErrMalformed)
		}
	}
}
