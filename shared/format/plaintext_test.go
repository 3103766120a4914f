package format_test

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// randomDetails draws details that fit the header.
func randomDetails(t *testing.T, r *rand.Rand, h *format.Header) (d format.Details) {
	if h.Flags&format.SealedContext != 0 {
		d.Context = randomContext(t, r, 4)
	}
	if h.Type == format.Blob || h.Type == format.File {
		d.MediaType = randomText(r, 8)
	}
	if h.Type == format.File {
		d.FileName, d.LastModified = randomText(r, 8), r.Int64N(2*format.MaxTime+1)-format.MaxTime
	}
	return d
}

func TestDetailsRoundTrip(t *testing.T) {
	r := newRandom(t)
	for range 5000 {
		h := randomHeader(t, r)
		d := randomDetails(t, r, &h)
		value := []byte(randomText(r, 12))
		if h.Flags&format.Tombstone != 0 {
			value = nil
		}
		b, err := format.AppendDetails([]byte("kept"), &h, d)
		require.NoError(t, err)
		require.Equal(t, "kept", string(b[:4]))
		got, rest, err := format.CutDetails(&h, append(b[4:], value...))
		require.NoError(t, err)
		require.Equal(t, d, got)
		require.Equal(t, string(value), string(rest))
	}
}

func TestDetailsLayout(t *testing.T) {
	context, err := format.NewContext(map[string]string{"a": "b"})
	require.NoError(t, err)
	all := format.Details{Context: context, MediaType: "image/png", FileName: "x.png", LastModified: -1}
	for _, c := range []struct {
		valueType format.ValueType
		flags     format.Flags
		details   format.Details
		want      string
	}{
		{format.Text, 0, format.Details{}, ""},
		{format.Bytes, format.Tombstone, format.Details{}, ""},
		{format.Buffer, 0, format.Details{}, ""},
		{format.JSON, 0, format.Details{}, ""},
		{format.JSON, format.SealedContext, format.Details{}, "\x00\x00"},
		{format.Text, format.SealedContext, format.Details{Context: context}, "\x00\x06\x00\x01a\x00\x01b"},
		{format.Blob, 0, format.Details{}, "\x00\x00"},
		{format.Blob, 0, format.Details{MediaType: "a/b"}, "\x00\x03a/b"},
		{format.File, 0, format.Details{}, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{format.File, format.SealedContext, all,
			"\x00\x06\x00\x01a\x00\x01b\x00\x09image/png\x00\x05x.png\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		h := format.Header{Algorithm: format.AES256GCM, Type: c.valueType, Flags: c.flags}
		b, err := format.AppendDetails(nil, &h, c.details)
		require.NoError(t, err)
		require.Equal(t, c.want, string(b), "%v %v", c.valueType, c.flags)
	}
}

func TestAppendDetailsRefuses(t *testing.T) {
	context, err := format.NewContext(map[string]string{"a": "b"})
	require.NoError(t, err)
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name      string
		valueType format.ValueType
		flags     format.Flags
		details   format.Details
		want      error
	}{
		{"context without its flag", format.Text, 0, format.Details{Context: context}, format.ErrInvalid},
		{"text with a media type", format.Text, 0, format.Details{MediaType: "a/b"}, format.ErrInvalid},
		{"JSON with a media type", format.JSON, 0, format.Details{MediaType: "a/b"}, format.ErrInvalid},
		{"blob with a name", format.Blob, 0, format.Details{FileName: "x"}, format.ErrInvalid},
		{"blob with a time", format.Blob, 0, format.Details{LastModified: 1}, format.ErrInvalid},
		{"media type not UTF-8", format.Blob, 0, format.Details{MediaType: "\xff"}, format.ErrInvalid},
		{"name not UTF-8", format.File, 0, format.Details{FileName: "\xed\xa0\x80"}, format.ErrInvalid},
		{"time too late", format.File, 0, format.Details{LastModified: format.MaxTime + 1}, format.ErrInvalid},
		{"time too early", format.File, 0, format.Details{LastModified: -format.MaxTime - 1}, format.ErrInvalid},
		{"longest media type", format.Blob, 0, format.Details{MediaType: long(format.MaxMediaType)}, nil},
		{"media type too long", format.Blob, 0, format.Details{MediaType: long(format.MaxMediaType + 1)}, format.ErrTooLarge},
		{"longest name", format.File, 0, format.Details{FileName: long(format.MaxFileName)}, nil},
		{"name too long", format.File, 0, format.Details{FileName: long(format.MaxFileName + 1)}, format.ErrTooLarge},
		{"first time", format.File, 0, format.Details{LastModified: -format.MaxTime}, nil},
		{"last time", format.File, 0, format.Details{LastModified: format.MaxTime}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := format.Header{Algorithm: format.AES256GCM, Type: c.valueType, Flags: c.flags}
			b, err := format.AppendDetails([]byte("kept"), &h, c.details)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.Equal(t, "kept", string(b))
				return
			}
			require.NoError(t, err)
			got, _, err := format.CutDetails(&h, b[4:])
			require.NoError(t, err)
			require.Equal(t, c.details, got)
		})
	}
}

func TestCutDetailsRefuses(t *testing.T) {
	text := func(n int) string {
		return string(binary.BigEndian.AppendUint16(nil, uint16(n))) + strings.Repeat("x", n)
	}
	when := func(ms int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(ms))) }
	for _, c := range []struct {
		name      string
		valueType format.ValueType
		flags     format.Flags
		plaintext string
	}{
		{"no context", format.Text, format.SealedContext, ""},
		{"half a context's length", format.Text, format.SealedContext, "\x00"},
		{"context too short", format.Text, format.SealedContext, "\x00\x05\x00\x01a\x00"},
		{"context not sorted", format.Text, format.SealedContext, "\x00\x0a" + entry("b", "") + entry("a", "")},
		{"no media type", format.Blob, 0, ""},
		{"media type too short", format.Blob, 0, "\x00\x02x"},
		{"media type too long", format.Blob, 0, text(format.MaxMediaType + 1)},
		{"media type not UTF-8", format.Blob, 0, "\x00\x01\xff"},
		{"no name", format.File, 0, text(3)},
		{"name too long", format.File, 0, text(3) + text(format.MaxFileName+1) + when(0)},
		{"name not UTF-8", format.File, 0, text(3) + "\x00\x01\xff" + when(0)},
		{"no time", format.File, 0, text(3) + text(3)},
		{"half a time", format.File, 0, text(3) + text(3) + when(0)[:7]},
		{"time too late", format.File, 0, text(3) + text(3) + when(format.MaxTime+1)},
		{"time too early", format.File, 0, text(3) + text(3) + when(-format.MaxTime-1)},
		{"tombstone with a value", format.Bytes, format.Tombstone, "x"},
		{"tombstone with sealed context and a value", format.Bytes, format.Tombstone | format.SealedContext, "\x00\x00x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := format.Header{Algorithm: format.AES256GCM, Type: c.valueType, Flags: c.flags}
			d, value, err := format.CutDetails(&h, []byte(c.plaintext))
			require.ErrorIs(t, err, format.ErrMalformed)
			require.Zero(t, d)
			require.Nil(t, value)
		})
	}
}

func TestCutDetailsBoundsTheValue(t *testing.T) {
	plaintext := make([]byte, format.MaxValue+1)
	h := format.Header{Algorithm: format.AES256GCM, Type: format.Bytes}
	_, value, err := format.CutDetails(&h, plaintext[1:])
	require.NoError(t, err)
	require.Len(t, value, format.MaxValue)
	_, _, err = format.CutDetails(&h, plaintext)
	require.ErrorIs(t, err, format.ErrMalformed)
	h.Algorithm = format.Chunked
	_, _, err = format.CutDetails(&h, plaintext)
	require.NoError(t, err, "chunked values have no such limit")
}

func TestCutDetailsValueAliasesThePlaintext(t *testing.T) {
	plaintext := []byte("\x00\x00value")
	_, value, err := format.CutDetails(&format.Header{Type: format.Blob}, plaintext)
	require.NoError(t, err)
	require.Same(t, &plaintext[2], &value[0], "a large value is not copied")
}
