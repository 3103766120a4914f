package format_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// Offsets of a header's fields (SPEC.md section 3).
const (
	atVersion     = 3
	atAlgorithm   = 4
	atUse         = 5
	atFlags       = 6
	atSource      = 7
	atClass       = 8
	atType        = 9
	atKeyID       = 10
	atSalt        = 42
	atEncryptedAt = 58
	atRevision    = 66
	atIterations  = 74
	atContext     = 78
)

func TestHeaderLayout(t *testing.T) {
	context, err := format.NewContext(map[string]string{"b": "2", "a": "one"})
	require.NoError(t, err)
	h := format.Header{
		Algorithm: format.AES256GCM, Use: format.UseFile, Source: format.FromPassphrase, Class: 5, Type: format.JSON,
		KeyID: format.KeyID{0: 1, 31: 32}, Salt: format.Salt{0: 2, 15: 16},
		EncryptedAt: 0x0102030405, Revision: 0x060708, Iterations: 600_000, Context: context,
	}
	b := encode(t, h)
	require.Len(t, b, h.Size())
	require.Equal(t, []byte{'C', 'F', 'R', 1, 1, 5, 0, 2, 5, 4}, b[:atKeyID])
	require.Equal(t, h.KeyID[:], b[atKeyID:atSalt])
	require.Equal(t, h.Salt[:], b[atSalt:atEncryptedAt])
	require.Equal(t, uint64(0x0102030405), binary.BigEndian.Uint64(b[atEncryptedAt:]))
	require.Equal(t, uint64(0x060708), binary.BigEndian.Uint64(b[atRevision:]))
	require.Equal(t, uint32(600_000), binary.BigEndian.Uint32(b[atIterations:]))
	require.Equal(t, "\x00\x0e\x00\x01a\x00\x03one\x00\x01b\x00\x012", string(b[atContext:]))
}

func TestHeaderRoundTrip(t *testing.T) {
	r := newRandom(t)
	for range 5000 {
		h := randomHeader(t, r)
		prefix := []byte("before")
		b, err := h.Append(prefix)
		require.NoError(t, err)
		require.Equal(t, prefix, b[:6], "Append appends")
		b = append(b[6:], "the body"...)
		got, n, err := format.ParseHeader(b)
		require.NoError(t, err)
		require.Equal(t, h, got)
		require.Equal(t, len(b)-len("the body"), n)
	}
}

func TestParseHeaderChecksFieldBounds(t *testing.T) {
	put64 := binary.BigEndian.PutUint64
	for _, c := range []struct {
		name  string
		patch func(b []byte) // of plainHeader's encoding
		ok    bool
	}{
		{"algorithm 0", func(b []byte) { b[atAlgorithm] = 0 }, false},
		{"algorithm 1", func(b []byte) { b[atAlgorithm] = 1 }, true},
		{"algorithm 3", func(b []byte) { b[atAlgorithm] = 3 }, true},
		{"algorithm 4", func(b []byte) { b[atAlgorithm] = 4 }, false},
		{"algorithm 255", func(b []byte) { b[atAlgorithm] = 255 }, false},
		{"use 0", func(b []byte) { b[atUse] = 0 }, false},
		{"use 1", func(b []byte) { b[atUse] = 1 }, true},
		{"use 5", func(b []byte) { b[atUse] = 5 }, true},
		{"use 6", func(b []byte) { b[atUse] = 6 }, false},
		{"flags 2", func(b []byte) { b[atFlags] = 2 }, true},
		{"flags 12", func(b []byte) { b[atFlags] = 12 }, true},
		{"flags 16", func(b []byte) { b[atFlags] = 16 }, false},
		{"flags 128", func(b []byte) { b[atFlags] = 128 }, false},
		{"source 0", func(b []byte) { b[atSource] = 0 }, false},
		{"source 3", func(b []byte) { b[atSource] = 3 }, true},
		{"source 4", func(b []byte) { b[atSource] = 4 }, false},
		{"class 0", func(b []byte) { b[atClass] = 0 }, false},
		{"class 1", func(b []byte) { b[atClass] = 1 }, true},
		{"class 5", func(b []byte) { b[atClass] = 5 }, true},
		{"class 6", func(b []byte) { b[atClass] = 6 }, false},
		{"type 0", func(b []byte) { b[atType] = 0 }, false},
		{"type 7", func(b []byte) { b[atType] = 7 }, true},
		{"type 8", func(b []byte) { b[atType] = 8 }, false},
		{"latest time", func(b []byte) { put64(b[atEncryptedAt:], format.MaxTime) }, true},
		{"after the latest time", func(b []byte) { put64(b[atEncryptedAt:], format.MaxTime+1) }, false},
		{"before 1970", func(b []byte) { put64(b[atEncryptedAt:], 1<<64-1) }, false},
		{"highest revision", func(b []byte) { put64(b[atRevision:], format.MaxRevision) }, true},
		{"above the highest revision", func(b []byte) { put64(b[atRevision:], format.MaxRevision+1) }, false},
		{"keyset with iterations", func(b []byte) { b[atIterations+3] = 1 }, false},
		{"passphrase without iterations", func(b []byte) { b[atSource] = 2 }, false},
		{"passphrase with 1 iteration", func(b []byte) { b[atSource], b[atIterations+3] = 2, 1 }, true},
		{"master key with iterations", func(b []byte) { b[atSource], b[atIterations+3] = 3, 1 }, false},
		{"public algorithm, class 1", func(b []byte) { b[atAlgorithm], b[atClass] = 2, 1 }, true},
		{"public algorithm, class 2", func(b []byte) { b[atAlgorithm], b[atClass] = 2, 2 }, false},
		{"public with sealed context", func(b []byte) { b[atAlgorithm], b[atClass], b[atFlags] = 2, 1, 2 }, false},
		{"public and padded", func(b []byte) { b[atAlgorithm], b[atClass], b[atFlags] = 2, 1, 4 }, false},
		{"public with a sealed name", func(b []byte) { b[atAlgorithm], b[atClass], b[atFlags] = 2, 1, 8 }, false},
		{"public tombstone", func(b []byte) { b[atAlgorithm], b[atClass], b[atFlags], b[atType] = 2, 1, 1, 2 }, false},
		{"tombstone of bytes", func(b []byte) { b[atFlags], b[atType] = 1, 2 }, true},
		{"tombstone of text", func(b []byte) { b[atFlags] = 1 }, false},
		{"chunked tombstone", func(b []byte) { b[atAlgorithm], b[atFlags], b[atType] = 3, 1, 2 }, false},
		{"tombstone with sealed context", func(b []byte) { b[atFlags], b[atType] = 3, 2 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := encode(t, plainHeader())
			c.patch(b)
			h, n, err := format.ParseHeader(b)
			if !c.ok {
				require.ErrorIs(t, err, format.ErrMalformed)
				require.Zero(t, h)
				require.Zero(t, n)
				return
			}
			require.NoError(t, err)
			require.Equal(t, b, encode(t, h))
		})
	}
}

func TestHeaderCheckRefusesInvalidHeaders(t *testing.T) {
	context, err := format.NewContext(map[string]string{"a": "b"})
	require.NoError(t, err)
	for name, change := range map[string]func(h *format.Header){
		"the zero header":               func(h *format.Header) { *h = format.Header{} },
		"no class":                      func(h *format.Header) { h.Class = 0 },
		"negative time":                 func(h *format.Header) { h.EncryptedAt = -1 },
		"time too late":                 func(h *format.Header) { h.EncryptedAt = format.MaxTime + 1 },
		"revision too high":             func(h *format.Header) { h.Revision = format.MaxRevision + 1 },
		"keyset with iterations":        func(h *format.Header) { h.Iterations = 600_000 },
		"passphrase without iterations": func(h *format.Header) { h.Source = format.FromPassphrase },
		"context and its flag":          func(h *format.Header) { h.Flags, h.Context = format.SealedContext, context },
		"public with a higher class":    func(h *format.Header) { h.Algorithm = format.Public },
		"tombstone of text":             func(h *format.Header) { h.Flags = format.Tombstone },
	} {
		t.Run(name, func(t *testing.T) {
			h := plainHeader()
			require.NoError(t, h.Check())
			change(&h)
			require.ErrorIs(t, h.Check(), format.ErrInvalid)
			b, err := h.Append([]byte("kept"))
			require.ErrorIs(t, err, format.ErrInvalid)
			require.Equal(t, "kept", string(b), "a refused header appends nothing")
		})
	}
}

func TestParseHeaderRefusesOtherVersionsAndMagic(t *testing.T) {
	good := encode(t, plainHeader())
	for version := range 256 {
		b := bytes.Clone(good)
		b[atVersion] = byte(version)
		_, _, err := format.ParseHeader(b)
		if version == format.Version {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, format.ErrUnsupportedVersion)
		_, _, err = format.ParseHeader(b[:4])
		require.ErrorIs(t, err, format.ErrUnsupportedVersion, "a header of another version may be shorter")
	}
	for i := range 3 {
		b := bytes.Clone(good)
		b[i] ^= 0x20
		b[atVersion] = 2
		_, _, err := format.ParseHeader(b)
		require.ErrorIs(t, err, format.ErrMalformed, "the magic is checked before the version")
	}
}

func TestParseHeaderRefusesEveryTruncation(t *testing.T) {
	r := newRandom(t)
	for range 50 {
		b := encode(t, randomHeader(t, r))
		for n := range b {
			_, _, err := format.ParseHeader(b[:n])
			require.ErrorIs(t, err, format.ErrMalformed, "%d of %d bytes", n, len(b))
		}
	}
}

// A header with one byte changed is refused, or is the encoding of another header.
func TestHeaderHasOneEncoding(t *testing.T) {
	r := newRandom(t)
	for range 8 {
		h := randomHeader(t, r)
		b := encode(t, h)
		for i := range b {
			for delta := 1; delta < 256; delta++ {
				changed := bytes.Clone(b)
				changed[i] ^= byte(delta)
				got, n, err := format.ParseHeader(changed)
				if err != nil {
					continue
				}
				require.False(t, h == got, "byte %d", i)
				require.True(t, bytes.Equal(changed[:n], encode(t, got)), "byte %d", i)
			}
		}
	}
}
