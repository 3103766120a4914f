package format_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format"
)

func TestSupersedesOrdersPackages(t *testing.T) {
	sealed := func(revision uint64, at int64, last byte) []byte {
		h := plainHeader()
		h.Revision, h.EncryptedAt = revision, at
		body := make([]byte, 28)
		body[27] = last
		p := format.Package{Header: h, Body: body}
		b, err := p.Append(nil)
		require.NoError(t, err)
		return b
	}
	base := sealed(5, 1000, 5)
	for _, c := range []struct {
		name  string
		later []byte
	}{
		{"greater revision", sealed(6, 1, 1)},
		{"later time", sealed(5, 1001, 1)},
		{"greater bytes", sealed(5, 1000, 6)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, pair := range []struct {
				a, b []byte
				want bool
			}{{c.later, base, true}, {base, c.later, false}, {base, base, false}} {
				got, err := format.Supersedes(pair.a, pair.b)
				require.NoError(t, err)
				require.Equal(t, pair.want, got)
			}
		})
	}
	_, err := format.Supersedes(base, []byte("CFR"))
	require.ErrorIs(t, err, format.ErrMalformed)
	_, err = format.Supersedes([]byte("CFR\x02"), base)
	require.ErrorIs(t, err, format.ErrUnsupportedVersion)
}
