package format_test

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

// randomDetails returns random details that the header allows.
func randomDetails(t *testing.T, r *rand.Rand, h *format.Header) (d format.Details) {
	if h.Flags&format.SealedContext != 0 {
		d.Context = randomContext(t, r, 4)
	}
	if h.Flags&format.SealedName != 0 {
		d.Name = randomText(r, 8)
	}
	if h.Type == format.View {
		d.Element = format.Element(1 + r.IntN(12))
	}
	if h.Type == format.Blob || h.Type == format.File {
		d.MediaType = randomText(r, 8)
	}
	if h.Type == format.File {
		d.FileName, d.LastModified = randomText(r, 8), r.Int64N(2*format.MaxTime+1)-format.MaxTime
	}
	return d
}

func TestPlaintextRoundTrip(t *testing.T) {
	r := newRandom(t)
	for range 5000 {
		h := randomHeader(t, r)
		d := randomDetails(t, r, &h)
		value := []byte(randomText(r, 12))
		if h.Type == format.View {
			value = make([]byte, d.Element.Size()*r.IntN(3))
		}
		if h.Flags&format.Tombstone != 0 {
			value = nil
		}
		b, err := format.AppendPlaintext([]byte("kept"), &h, d, value)
		require.NoError(t, err)
		require.Equal(t, "kept", string(b[:4]))
		if h.Flags&format.Padded != 0 {
			require.Len(t, b[4:], format.PaddedSize(len(b[4:])-1), "a padded plaintext has a size that PaddedSize returns")
		}
		got, rest, err := format.SplitPlaintext(&h, b[4:])
		require.NoError(t, err)
		require.Equal(t, d, got)
		require.Equal(t, string(value), string(rest))
	}
}

func TestDetailsLayout(t *testing.T) {
	context, err := format.NewContext(map[string]string{"a": "b"})
	require.NoError(t, err)
	all := format.Details{Context: context, Name: "n", MediaType: "image/png", FileName: "x.png", LastModified: -1}
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
		{format.Bytes, format.SealedName, format.Details{Name: "name"}, "\x00\x04name"},
		{format.Bytes, format.SealedName | format.Padded, format.Details{}, "\x00\x00"},
		{format.View, 0, format.Details{Element: format.ElementFloat32}, "\x0b"},
		{format.File, format.SealedContext | format.SealedName, all,
			"\x00\x06\x00\x01a\x00\x01b\x00\x01n\x00\x09image/png\x00\x05x.png\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		h := format.Header{Algorithm: format.AES256GCM, Type: c.valueType, Flags: c.flags}
		b, err := format.AppendDetails(nil, &h, c.details)
		require.NoError(t, err)
		require.Equal(t, c.want, string(b), "%v %v", c.valueType, c.flags)
	}
}

func TestAppendDetailsRefusesInvalidDetails(t *testing.T) {
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
		{"name without its flag", format.Text, 0, format.Details{Name: "x"}, format.ErrInvalid},
		{"sealed name not UTF-8", format.Text, format.SealedName, format.Details{Name: "\xff"}, format.ErrInvalid},
		{"longest sealed name", format.Text, format.SealedName, format.Details{Name: long(format.MaxName)}, nil},
		{"sealed name too long", format.Text, format.SealedName, format.Details{Name: long(format.MaxName + 1)}, format.ErrTooLarge},
		{"bytes with an element type", format.Bytes, 0, format.Details{Element: format.ElementInt8}, format.ErrInvalid},
		{"view without an element type", format.View, 0, format.Details{}, format.ErrInvalid},
		{"view of an unknown element type", format.View, 0, format.Details{Element: 13}, format.ErrInvalid},
		{"view of the last element type", format.View, 0, format.Details{Element: 12}, nil},
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
			got, _, err := format.SplitDetails(&h, b[4:])
			require.NoError(t, err)
			require.Equal(t, c.details, got)
		})
	}
}

func TestSplitPlaintextRefusesInvalidPlaintexts(t *testing.T) {
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
		{"no sealed name", format.Text, format.SealedName, "\x00"},
		{"sealed name too long", format.Text, format.SealedName, text(format.MaxName + 1)},
		{"sealed name not UTF-8", format.Text, format.SealedName, "\x00\x01\xff"},
		{"no element type", format.View, 0, ""},
		{"element type 0", format.View, 0, "\x00"},
		{"element type 13", format.View, 0, "\x0d"},
		{"half an element", format.View, 0, "\x04\x00"},
		{"no padding", format.Bytes, format.Padded, ""},
		{"padding of zeros", format.Bytes, format.Padded, "\x00\x00"},
		{"padding of another byte", format.Bytes, format.Padded, "x\x81\x00"},
		{"padding within the details", format.View, format.Padded, "\x01"},
		{"padded tombstone with a value", format.Bytes, format.Tombstone | format.Padded, "x\x80"},
		{"tombstone with a value", format.Bytes, format.Tombstone, "x"},
		{"tombstone with sealed context and a value", format.Bytes, format.Tombstone | format.SealedContext, "\x00\x00x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := format.Header{Algorithm: format.AES256GCM, Type: c.valueType, Flags: c.flags}
			d, value, err := format.SplitPlaintext(&h, []byte(c.plaintext))
			require.ErrorIs(t, err, format.ErrMalformed)
			require.Zero(t, d)
			require.Nil(t, value)
		})
	}
}

func TestSplitPlaintextRefusesLargeValue(t *testing.T) {
	plaintext := make([]byte, format.MaxValue+1)
	h := format.Header{Algorithm: format.AES256GCM, Type: format.Bytes}
	_, value, err := format.SplitPlaintext(&h, plaintext[1:])
	require.NoError(t, err)
	require.Len(t, value, format.MaxValue)
	_, _, err = format.SplitPlaintext(&h, plaintext)
	require.ErrorIs(t, err, format.ErrMalformed)
	h.Algorithm = format.Chunked
	_, _, err = format.SplitPlaintext(&h, plaintext)
	require.NoError(t, err, "chunked values have no limit")
}

func TestSplitPlaintextDoesNotCopyValue(t *testing.T) {
	plaintext := []byte("\x00\x00value")
	_, value, err := format.SplitPlaintext(&format.Header{Type: format.Blob}, plaintext)
	require.NoError(t, err)
	require.Same(t, &plaintext[2], &value[0], "the value must not be copied")
}

func TestAppendPlaintextRefusesInvalidValue(t *testing.T) {
	for _, c := range []struct {
		name   string
		header format.Header
		size   int
		want   error
	}{
		{"too large", format.Header{Algorithm: format.AES256GCM, Type: format.Bytes}, format.MaxValue + 1, format.ErrTooLarge},
		{"tombstone", format.Header{Algorithm: format.AES256GCM, Type: format.Bytes, Flags: format.Tombstone}, 1, format.ErrInvalid},
		{"half an element", format.Header{Algorithm: format.AES256GCM, Type: format.View}, 3, format.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := format.Details{}
			if c.header.Type == format.View {
				d.Element = format.ElementFloat32
			}
			b, err := format.AppendPlaintext([]byte("kept"), &c.header, d, make([]byte, c.size))
			require.ErrorIs(t, err, c.want)
			require.Equal(t, "kept", string(b))
		})
	}
}

func TestElementNamesAndSizes(t *testing.T) {
	for e := format.ElementDataView; e <= format.ElementFloat64; e++ {
		got, err := format.ParseElement(e.String())
		require.NoError(t, err)
		require.Equal(t, e, got)
		require.True(t, e.Valid())
		require.Positive(t, e.Size())
	}
	for _, e := range []format.Element{0, 13, 255} {
		require.False(t, e.Valid())
		require.Zero(t, e.Size())
		require.Equal(t, "unknown", e.String())
	}
	_, err := format.ParseElement("Uint8Array")
	require.ErrorIs(t, err, format.ErrMalformed, "a Uint8Array is of type bytes")
}

// The sizes follow the formula of the Padmé paper (PURBs, PETS 2019), with a minimum of 256.
func TestPaddedSizeFollowsPadme(t *testing.T) {
	for _, c := range [][2]int{
		{0, 256}, {254, 256}, {255, 256}, {256, 272}, {271, 272}, {272, 288}, {511, 512}, {512, 544}, {1023, 1024}, {1024, 1088},
		{9999, 10240}, {1 << 20, 1<<20 + 1<<15}, {format.MaxValue, 66 << 20},
	} {
		require.Equal(t, c[1], format.PaddedSize(c[0]), "%d bytes", c[0])
	}
	last := 0
	for n := range 100_000 {
		size := format.PaddedSize(n)
		require.Greater(t, size, n)
		require.GreaterOrEqual(t, size, last)
		require.Equal(t, size, format.PaddedSize(size-1), "a padded size is padded to itself")
		if n >= 256 {
			require.LessOrEqual(t, size, n+1+(n+1)*12/100)
		}
		last = size
	}
}
