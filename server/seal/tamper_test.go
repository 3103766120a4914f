package seal_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Offsets of a package's fields (SPEC.md section 3).
const (
	atKeyID = 10
	atSalt  = 42
	atTime  = 58
)

// A package does not open if any one of its bits is flipped, or if it is cut short at any byte.
func TestOpenRefusesEveryFlippedBit(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	for _, class := range []classify.Class{classify.Public, classify.PHI} {
		r := request(class)
		r.Context = contextOf(t, map[string]string{"patient": "P1"})
		pkg, err := s.Seal(t.Context(), nil, r, []byte("a value"))
		require.NoError(t, err)
		for i := range pkg {
			for bit := range 8 {
				altered := bytes.Clone(pkg)
				altered[i] ^= 1 << bit
				o, err := s.Open(t.Context(), nil, altered, home, cachePolicy)
				require.Zero(t, o)
				code := codes.Of(err).Code
				switch {
				case i >= atKeyID && i < atSalt:
					require.Equal(t, "unknown_key", code, i)
				case i >= atTime+16: // after the numbers of the header: context and body
					require.Contains(t, []string{"authentication_failed", "malformed"}, code, i)
				case i >= atSalt && i < atTime:
					require.Equal(t, "authentication_failed", code, i)
				default:
					require.Contains(t, []string{"authentication_failed", "malformed", "unsupported_version", "unknown_key"}, code, i)
				}
			}
		}
		for n := range pkg {
			_, err := s.Open(t.Context(), nil, pkg[:n], home, cachePolicy)
			require.Contains(t, []string{"authentication_failed", "malformed"}, codes.Of(err).Code)
		}
	}
}

// A package does not open if one of its fields is replaced by that of another package with the same key and place.
func TestOpenRefusesSwappedFields(t *testing.T) {
	k := newKeys(t, "tenant")
	a, b := seal.NewSealer(k), seal.NewSealer(k)
	r := request(classify.PHI)
	r.Revision = 1
	first, err := a.Seal(t.Context(), nil, r, []byte("first value"))
	require.NoError(t, err)
	r.Revision, r.Type = 2, format.Text
	second, err := b.Seal(t.Context(), nil, r, []byte("other value"))
	require.NoError(t, err)
	fields := [][2]int{{9, 10}, {atSalt, atTime}, {66, 74}, {80, 92}, {92, len(first) - 16}, {len(first) - 16, len(first)}, {80, len(first)}}
	for _, f := range fields {
		mixed := slices.Concat(first[:f[0]], second[f[0]:f[1]], first[f[1]:])
		require.NotEqual(t, first, mixed)
		_, err := a.Open(t.Context(), nil, mixed, home, cachePolicy)
		require.ErrorIs(t, err, envelope.ErrAuthentication, "bytes %d to %d", f[0], f[1])
	}
}

// A package opens only in its own place, for its own use and with the keys of its owner.
func TestOpenRefusesMovedPackages(t *testing.T) {
	s := seal.NewSealer(newKeys(t, "tenant"))
	for _, class := range []classify.Class{classify.Public, classify.PHI} {
		pkg, err := s.Seal(t.Context(), nil, request(class), []byte("value"))
		require.NoError(t, err)
		for name, from := range map[string]struct {
			use   format.Use
			place format.Place
		}{
			"key":        {format.UseCache, format.Place{Owner: "tenant", Collection: "cache", Name: "patient:2", Named: true}},
			"no key":     {format.UseCache, format.Place{Owner: "tenant", Collection: "cache"}},
			"collection": {format.UseCache, format.Place{Owner: "tenant", Collection: "cachf", Name: "patient:1", Named: true}},
			"boundary":   {format.UseCache, format.Place{Owner: "tenantc", Collection: "ache", Name: "patient:1", Named: true}},
			"tenant":     {format.UseCache, format.Place{Owner: "tenant2", Collection: "cache", Name: "patient:1", Named: true}},
			"use":        {format.UseField, home},
		} {
			_, err := s.Open(t.Context(), nil, pkg, from.place, envelope.OpenPolicy{Use: from.use})
			require.ErrorIs(t, err, envelope.ErrAuthentication, name)
		}
		other := seal.NewSealer(newKeys(t, "tenant"))
		_, err = other.Open(t.Context(), nil, pkg, home, cachePolicy)
		require.ErrorIs(t, err, envelope.ErrUnknownKey)
	}
}

// A package does not open as one of a lower class, and a package of a lower class is refused by MinClass.
func TestOpenRefusesLoweredClass(t *testing.T) {
	k := newKeys(t, "tenant")
	s := seal.NewSealer(k)
	pkg, err := s.Seal(t.Context(), nil, request(classify.PHI), []byte("value"))
	require.NoError(t, err)
	lowered := bytes.Clone(pkg)
	lowered[8] = byte(classify.Internal)
	_, err = s.Open(t.Context(), nil, lowered, home, cachePolicy)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
	// It does not open with the key id of that class either.
	internal, err := k.Primary(t.Context(), format.UseCache, classify.Internal)
	require.NoError(t, err)
	copy(lowered[atKeyID:], internal[:])
	_, err = s.Open(t.Context(), nil, lowered, home, cachePolicy)
	require.ErrorIs(t, err, envelope.ErrAuthentication)

	low, err := s.Seal(t.Context(), nil, request(classify.Internal), []byte("value"))
	require.NoError(t, err)
	_, err = s.Open(t.Context(), nil, low, home, envelope.OpenPolicy{Use: format.UseCache, MinClass: classify.PII})
	require.ErrorIs(t, err, classify.ErrTooLow)
}

// A public package is readable, but authenticated: with a copied or guessed tag it does not open in place of an
// encrypted package.
func TestOpenRefusesForgedPublicPackages(t *testing.T) {
	k := newKeys(t, "tenant")
	s := seal.NewSealer(k)
	sealed, err := s.Seal(t.Context(), nil, request(classify.PHI), []byte("value"))
	require.NoError(t, err)
	real, err := s.Seal(t.Context(), nil, request(classify.Public), []byte("value"))
	require.NoError(t, err)
	h, n, err := format.ParseHeader(real)
	require.NoError(t, err)
	for name, body := range map[string][]byte{
		"the sealed package's nonce and tag": slices.Concat(sealed[n:n+12], sealed[len(sealed)-16:], []byte("forged")),
		"a real public package's":            slices.Concat(real[n:n+28], []byte("forged")),
		"zeros":                              make([]byte, 34),
	} {
		p := format.Package{Header: h, Body: body}
		forged, err := p.Append(nil)
		require.NoError(t, err)
		_, err = s.Open(t.Context(), nil, forged, home, cachePolicy)
		require.ErrorIs(t, err, envelope.ErrAuthentication, name)
	}
	p := format.Package{Header: h, Body: real[n:]}
	copy(p.Header.KeyID[:], sealed[atKeyID:atSalt])
	forged, err := p.Append(nil)
	require.NoError(t, err)
	_, err = s.Open(t.Context(), nil, forged, home, cachePolicy)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
}
