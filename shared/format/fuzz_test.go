package format_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/fuzztest"
	"github.com/coffer-storage/coffer/shared/format"
)

func TestFuzzTargetsHaveSeeds(t *testing.T) { fuzztest.RequireSeeds(t) }

// FuzzParse checks that a package that parses is encoded again byte for byte, and that parsing allocates no more memory
// than the length of the input justifies.
func FuzzParse(f *testing.F) {
	h := plainHeader()
	header, _ := h.Append(nil)
	f.Add(append(header, make([]byte, 28)...))
	f.Add([]byte("CFR\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p format.Package
		var err error
		fuzztest.Bounded(t, len(b)+1024, func() { p, err = format.Parse(b) })
		if err != nil {
			require.Zero(t, p)
			return
		}
		again, err := p.Append(nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, again))
	})
}

// FuzzHeader checks that a header that Check accepts is encoded and parsed back unchanged, and that Append refuses every
// other header and appends nothing.
func FuzzHeader(f *testing.F) {
	f.Add(byte(1), byte(1), byte(0), byte(1), byte(3), byte(1), []byte("id"), []byte("salt"), int64(1), uint64(2), uint32(0), "k", "v")
	f.Add(byte(2), byte(5), byte(0), byte(2), byte(1), byte(6), []byte{}, []byte{}, int64(0), uint64(0), uint32(600000), "", "")
	f.Add(byte(1), byte(2), byte(3), byte(3), byte(5), byte(2), []byte{9}, []byte{8}, int64(-1), uint64(1<<63), uint32(1), "é", "😀")
	f.Fuzz(func(t *testing.T, algorithm, use, flags, source, class, valueType byte, id, salt []byte, at int64, revision uint64,
		iterations uint32, key, value string) {
		h := format.Header{
			Algorithm: format.Algorithm(algorithm), Use: format.Use(use), Flags: format.Flags(flags), Source: format.Source(source),
			Class: class, Type: format.ValueType(valueType), EncryptedAt: at, Revision: revision, Iterations: iterations,
		}
		copy(h.KeyID[:], id)
		copy(h.Salt[:], salt)
		if key != "" {
			h.Context, _ = format.NewContext(map[string]string{key: value})
		}
		b, err := h.Append(nil)
		if invalid := h.Check(); invalid != nil {
			require.Equal(t, invalid, err)
			require.Empty(t, b)
			return
		}
		require.NoError(t, err)
		got, n, err := format.ParseHeader(b)
		require.NoError(t, err)
		require.Equal(t, len(b), n)
		require.Equal(t, h, got)
	})
}

// FuzzContext checks that a context is encoded and parsed back unchanged, and that a parsed context is the encoding of its
// own map.
func FuzzContext(f *testing.F) {
	f.Add("a", "1", "b", "2", []byte(entry("a", "1")+entry("b", "2")))
	f.Add("😀", "1", "～", "2", []byte(entry("😀", "1")+entry("～", "2")))
	f.Add("", "", "", "", []byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, raw []byte) {
		m := map[string]string{k1: v1, k2: v2}
		if c, err := format.NewContext(m); err == nil {
			h := plainHeader()
			h.Context = c
			parsed, _, err := format.ParseHeader(encode(t, h))
			require.NoError(t, err)
			require.Equal(t, m, parsed.Context.Map())
		}
		if len(raw) > 1<<16-1 {
			return
		}
		h, n, err := format.ParseHeader(rawHeader(t, string(raw)))
		if err != nil {
			return
		}
		require.Equal(t, format.HeaderSize+len(raw), n)
		again, err := format.NewContext(h.Context.Map())
		require.NoError(t, err)
		require.True(t, h.Context == again)
	})
}

// FuzzPlaintext checks that details and value are encoded and split again unchanged, and that a plaintext that splits is
// the encoding of its parts, except for the length of the padding.
func FuzzPlaintext(f *testing.F) {
	f.Add(byte(1), byte(6), byte(0), byte(0), "image/png", "scan.png", int64(1700000000000), "", "", "", []byte("value"))
	f.Add(byte(1), byte(5), byte(2), byte(0), "a/b", "", int64(0), "patient", "é", "", []byte("\x00\x00\x00\x00"))
	f.Add(byte(3), byte(2), byte(3), byte(0), "", "", int64(-1), "", "", "", []byte{})
	f.Add(byte(1), byte(7), byte(4), byte(11), "", "", int64(0), "", "", "", []byte("\x0b\x00\x00\x80\x3f\x80\x00"))
	f.Add(byte(1), byte(5), byte(0), byte(28), "a/b", "", int64(0), "", "", "", []byte("an element type that does not exist"))
	f.Add(byte(1), byte(2), byte(12), byte(0), "", "", int64(0), "", "", "name", []byte("\x00\x01nvalue\x80"))
	f.Fuzz(func(t *testing.T, algorithm, valueType, flags, element byte, media, fileName string, at int64, key, text, name string, b []byte) {
		h := format.Header{Algorithm: format.Algorithm(algorithm), Type: format.ValueType(valueType), Flags: format.Flags(flags)}
		d := format.Details{Name: name, MediaType: media, FileName: fileName, LastModified: at, Element: format.Element(element)}
		if key != "" {
			d.Context, _ = format.NewContext(map[string]string{key: text})
		}
		if written, err := format.AppendPlaintext(nil, &h, d, b); err == nil {
			got, value, err := format.SplitPlaintext(&h, written)
			require.NoError(t, err)
			require.Equal(t, d, got)
			require.True(t, bytes.Equal(b, value))
		}
		var value []byte
		var err error
		fuzztest.Bounded(t, len(b)+1024, func() { d, value, err = format.SplitPlaintext(&h, b) })
		if err != nil {
			return
		}
		again, err := format.AppendPlaintext(nil, &h, d, value)
		require.NoError(t, err)
		if h.Flags&format.Padded != 0 {
			again, b = bytes.TrimRight(again, "\x00"), bytes.TrimRight(b, "\x00")
		}
		require.True(t, bytes.Equal(b, again))
	})
}

// FuzzPlace checks that different places have different additional data, and that the additional data of one place is not
// a prefix of another's.
func FuzzPlace(f *testing.F) {
	f.Add("clinic", "cache", "name", true, "clinic", "cachen", "ame", true)
	f.Add("", "", "", true, "", "", "", false)
	f.Add("o", "\x00\x00", "", true, "o", "", "\x00", true)
	f.Fuzz(func(t *testing.T, o1, c1, n1 string, named1 bool, o2, c2, n2 string, named2 bool) {
		p := format.Place{Owner: o1, Collection: c1, Name: n1, Named: named1}
		q := format.Place{Owner: o2, Collection: c2, Name: n2, Named: named2}
		header := encode(t, plainHeader())
		a, err := format.AppendAdditionalData(nil, header, p)
		require.Equal(t, p.Check(), err)
		b, err2 := format.AppendAdditionalData(nil, header, q)
		require.Equal(t, q.Check(), err2)
		if err != nil || err2 != nil {
			return
		}
		require.Equal(t, p == q, bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a))
		_, got, rest := splitAdditionalData(t, a)
		require.Equal(t, p, got)
		require.Empty(t, rest)
	})
}
