package format_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

func TestPlaceCheckEnforcesLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name  string
		place format.Place
		want  error
	}{
		{"zero place", format.Place{}, nil},
		{"empty name", format.Place{Named: true}, nil},
		{"longest owner", format.Place{Owner: long(format.MaxOwner)}, nil},
		{"owner too long", format.Place{Owner: long(format.MaxOwner + 1)}, format.ErrTooLarge},
		{"longest collection", format.Place{Collection: long(format.MaxCollection)}, nil},
		{"collection too long", format.Place{Collection: long(format.MaxCollection + 1)}, format.ErrTooLarge},
		{"longest name", format.Place{Name: long(format.MaxName), Named: true}, nil},
		{"name too long", format.Place{Name: long(format.MaxName + 1), Named: true}, format.ErrTooLarge},
		{"limits count bytes", format.Place{Owner: strings.Repeat("é", format.MaxOwner/2+1)}, format.ErrTooLarge},
		{"name without Named", format.Place{Name: "x"}, format.ErrInvalid},
		{"owner not UTF-8", format.Place{Owner: "\xff"}, format.ErrInvalid},
		{"collection not UTF-8", format.Place{Collection: "\xc3"}, format.ErrInvalid},
		{"lone surrogate in the name", format.Place{Name: "\xed\xa0\x80", Named: true}, format.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := format.AppendAdditionalData([]byte("kept"), encode(t, plainHeader()), c.place)
			if c.want != nil {
				require.ErrorIs(t, c.place.Check(), c.want)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, "kept", string(b))
				return
			}
			require.NoError(t, c.place.Check())
			require.NoError(t, err)
			require.Equal(t, "kept", string(b[:4]))
		})
	}
}

func TestAdditionalDataLayout(t *testing.T) {
	header := encode(t, plainHeader())
	place := format.Place{Owner: "clinic", Collection: "cache", Name: "é", Named: true}
	b, err := format.AppendAdditionalData(nil, header, place)
	require.NoError(t, err)
	require.Equal(t, "\x00\x50"+string(header)+"\x00\x06clinic\x00\x05cache\x01\x00\x02é", string(b))

	place.Name, place.Named = "", false
	b, err = format.AppendAdditionalData(nil, header, place)
	require.NoError(t, err)
	require.Equal(t, "\x00\x50"+string(header)+"\x00\x06clinic\x00\x05cache\x00", string(b))
}

func TestNoNameDiffersFromEmptyName(t *testing.T) {
	header := encode(t, plainHeader())
	none, err := format.AppendAdditionalData(nil, header, format.Place{Owner: "o"})
	require.NoError(t, err)
	empty, err := format.AppendAdditionalData(nil, header, format.Place{Owner: "o", Named: true})
	require.NoError(t, err)
	require.NotEqual(t, none, empty)
}

func TestAdditionalDataRefusesLongHeader(t *testing.T) {
	_, err := format.AppendAdditionalData(nil, make([]byte, format.HeaderSize+format.MaxContext), format.Place{})
	require.NoError(t, err)
	_, err = format.AppendAdditionalData(nil, make([]byte, format.HeaderSize+format.MaxContext+1), format.Place{})
	require.ErrorIs(t, err, format.ErrTooLarge)
}

// splitAdditionalData is the inverse of AppendAdditionalData. It also returns the bytes that follow the additional data.
// Because there is an inverse, no two pairs of header and place have the same additional data.
func splitAdditionalData(t *testing.T, b []byte) (header []byte, p format.Place, rest []byte) {
	field := func() []byte {
		n := 2 + int(binary.BigEndian.Uint16(b))
		f := b[2:n]
		b = b[n:]
		return f
	}
	header = field()
	p.Owner, p.Collection = string(field()), string(field())
	require.LessOrEqual(t, b[0], byte(1))
	p.Named, b = b[0] == 1, b[1:]
	if p.Named {
		p.Name = string(field())
	}
	return header, p, b
}

func TestAdditionalDataIsInjective(t *testing.T) {
	r := newRandom(t)
	same, different := 0, 0
	for range 5000 {
		h1 := encode(t, randomHeader(t, r))
		h2 := slices.Clone(h1)
		if r.IntN(2) == 0 {
			h2 = encode(t, randomHeader(t, r))
		}
		p1, p2 := randomPlace(r), randomPlace(r)
		if r.IntN(4) == 0 {
			p2 = moved(p1)
		}
		a1, err := format.AppendAdditionalData(nil, h1, p1)
		require.NoError(t, err)
		a2, err := format.AppendAdditionalData(nil, h2, p2)
		require.NoError(t, err)
		equal := string(h1) == string(h2) && p1 == p2
		require.Equal(t, equal, string(a1) == string(a2), "%+v %+v", p1, p2)
		if equal {
			same++
		} else {
			different++
			require.NotEqual(t, string(a1), string(a2[:min(len(a1), len(a2))]), "no additional data is a prefix of another")
		}

		value := randomText(r, 8)
		header, place, rest := splitAdditionalData(t, append(a1, value...))
		require.Equal(t, h1, header)
		require.Equal(t, p1, place)
		require.Equal(t, value, string(rest))
	}
	require.NotZero(t, same)
	require.NotZero(t, different)
}

// moved moves text between a place's fields so that their concatenation stays the same.
func moved(p format.Place) format.Place {
	return format.Place{Owner: p.Owner + p.Collection, Collection: p.Name, Named: p.Named}
}

func TestFieldCollection(t *testing.T) {
	long := strings.Repeat("x", format.MaxCollection-2)
	for _, c := range []struct {
		name, table, column string
		want                error
	}{
		{"table and column", "t", "c", nil},
		{"maximum length", "t", long, nil},
		{"too long", "t", long + "x", format.ErrTooLarge},
		{"no table", "", "c", format.ErrInvalid},
		{"no column", "t", "", format.ErrInvalid},
		{"U+0000 in the table", "t\x00", "c", format.ErrInvalid},
		{"U+0000 in the column", "t", "\x00c", format.ErrInvalid},
		{"not UTF-8", "\xff", "c", format.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := format.FieldCollection(c.table, c.column)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.Empty(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.table+"\x00"+c.column, got)
			require.NoError(t, (&format.Place{Collection: got}).Check())
		})
	}
}
