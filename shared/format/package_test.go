package format_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

func TestPackageRoundTrip(t *testing.T) {
	r := newRandom(t)
	for range 2000 {
		h := randomHeader(t, r)
		body := make([]byte, 72+r.IntN(200)) // long enough for every algorithm
		if h.Flags == format.Tombstone {
			body = body[:28]
		}
		p := format.Package{Header: h, Body: body}
		b, err := p.Append([]byte("kept"))
		require.NoError(t, err)
		require.Equal(t, "kept", string(b[:4]))
		got, err := format.Parse(b[4:])
		require.NoError(t, err)
		require.Equal(t, p, got)
		require.Same(t, &b[4+h.Size()], &got.Body[0], "the body must not be copied")
	}
}

func TestPackageAppendRefusesInvalidPackages(t *testing.T) {
	p := format.Package{Header: plainHeader(), Body: make([]byte, 27)}
	b, err := p.Append([]byte("kept"))
	require.ErrorIs(t, err, format.ErrMalformed)
	require.Equal(t, "kept", string(b))
	p = format.Package{Body: make([]byte, 28)}
	b, err = p.Append([]byte("kept"))
	require.ErrorIs(t, err, format.ErrInvalid)
	require.Equal(t, "kept", string(b))
}

func TestParseRefusesInvalidPackages(t *testing.T) {
	good := append(encode(t, plainHeader()), make([]byte, 28)...)
	_, err := format.Parse(good)
	require.NoError(t, err)
	_, err = format.Parse(good[:len(good)-1])
	require.ErrorIs(t, err, format.ErrMalformed)
	_, err = format.Parse(nil)
	require.ErrorIs(t, err, format.ErrMalformed)
	_, err = format.Parse([]byte("CFR\x02"))
	require.ErrorIs(t, err, format.ErrUnsupportedVersion)
	tooLarge := append(encode(t, plainHeader()), make([]byte, format.MaxValue+1<<20)...)
	_, err = format.Parse(tooLarge)
	require.ErrorIs(t, err, format.ErrTooLarge)
}

func TestCheckBodyChecksLength(t *testing.T) {
	const (
		overhead   = format.NonceSize + format.TagSize
		sealed     = 16<<10 + format.TagSize // a full chunk
		commit     = 24 + 32                 // salt and commitment, before the chunks
		maxDetails = 2 + format.MaxContext + 2 + format.MaxName + 2 + format.MaxMediaType + 2 + format.MaxFileName + 8
	)
	gcm := format.Header{Algorithm: format.AES256GCM}
	public := format.Header{Algorithm: format.Public}
	chunked := format.Header{Algorithm: format.Chunked}
	tombstone := format.Header{Algorithm: format.AES256GCM, Flags: format.Tombstone}
	padded := format.Header{Algorithm: format.AES256GCM, Flags: format.Padded}
	sealedTombstone := format.Header{Algorithm: format.AES256GCM, Flags: format.Tombstone | format.SealedContext}
	for _, c := range []struct {
		name   string
		header format.Header
		n      int
		want   error
	}{
		{"GCM, negative length", gcm, -1, format.ErrMalformed},
		{"GCM, empty", gcm, 0, format.ErrMalformed},
		{"GCM, incomplete tag", gcm, overhead - 1, format.ErrMalformed},
		{"GCM, empty value", gcm, overhead, nil},
		{"GCM, largest value", gcm, overhead + format.MaxValue + maxDetails, nil},
		{"GCM, one byte too large", gcm, overhead + format.MaxValue + maxDetails + 1, format.ErrTooLarge},
		{"padded, largest value", padded, overhead + 66<<20, nil},
		{"padded, one byte too large", padded, overhead + 66<<20 + 1, format.ErrTooLarge},
		{"public, incomplete tag", public, overhead - 1, format.ErrMalformed},
		{"public empty value", public, overhead, nil},
		{"public, one byte too large", public, overhead + format.MaxValue + maxDetails + 1, format.ErrTooLarge},
		{"tombstone", tombstone, overhead, nil},
		{"tombstone with a value", tombstone, overhead + 1, format.ErrMalformed},
		{"tombstone with sealed context", sealedTombstone, overhead + 2, nil},
		{"chunked, negative length", chunked, -1, format.ErrMalformed},
		{"chunked, empty body", chunked, 0, format.ErrMalformed},
		{"chunked, no chunk", chunked, commit, format.ErrMalformed},
		{"chunked, incomplete tag", chunked, commit + format.TagSize - 1, format.ErrMalformed},
		{"chunked, empty value", chunked, commit + format.TagSize, nil},
		{"chunked, one byte less than a chunk", chunked, commit + sealed - 1, nil},
		{"chunked, full chunk without a last chunk", chunked, commit + sealed, format.ErrMalformed},
		{"chunked, incomplete last tag", chunked, commit + sealed + format.TagSize - 1, format.ErrMalformed},
		{"chunked, empty last chunk", chunked, commit + sealed + format.TagSize, nil},
		{"chunked, two chunks and one byte", chunked, commit + 2*sealed + format.TagSize + 1, nil},
		{"chunked, larger than MaxValue", chunked, commit + 10000*sealed + format.TagSize, nil},
		{"chunked, 2^38 chunks", chunked, commit + (1<<38-1)*sealed + format.TagSize, nil},
		{"chunked, more than 2^38 chunks", chunked, commit + 1<<38*sealed + format.TagSize, format.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := format.CheckBody(&c.header, c.n)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
		})
	}
}
