package vectors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// requireCode requires that err has the given code.
func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	require.Error(t, err)
	require.GreaterOrEqual(t, codes.Number(code), 0, code)
	require.Equal(t, code, codes.Of(err).Code)
}

func TestMalformedBytesAreRefused(t *testing.T) {
	for _, v := range vectors.LoadInvalid().Binary {
		t.Run(v.Name, func(t *testing.T) {
			_, err := format.Parse(v.Bytes.Bytes())
			requireCode(t, v.Code, err)
		})
	}
}

func TestMalformedTextsAreRefused(t *testing.T) {
	for _, v := range vectors.LoadInvalid().JSON {
		t.Run(v.Name, func(t *testing.T) {
			text := []byte(v.Text)
			if v.Hex != nil {
				text = v.Hex
			}
			_, err := jsonform.Unmarshal(text)
			requireCode(t, v.Code, err)
		})
	}
}

func TestPackagesThatMustNotOpenAreRefused(t *testing.T) {
	readers, packages := documentKeys(t), map[string][]byte{}
	for _, v := range vectors.LoadPackages() {
		packages[v.Name] = v.Package.Bytes()
	}
	for _, v := range vectors.LoadInvalid().Open {
		t.Run(v.Name, func(t *testing.T) {
			p, err := format.Parse(v.Bytes(packages))
			if err != nil { // some spliced packages do not parse
				requireCode(t, v.Code, err)
				return
			}
			require.NoError(t, err)
			policy := envelope.OpenPolicy{Use: format.Use(v.Use), MinClass: classify.Class(v.Least)}
			key, err := keyOf(readers, v.Document, v.Secret, &p.Header, policy)
			if err == nil {
				_, _, err = plain.Open(key, p, v.Place.Format())
			}
			requireCode(t, v.Code, err)

			text, err := jsonform.Marshal(p) // the JSON form must represent the same package
			require.NoError(t, err)
			again, err := jsonform.Unmarshal(text)
			require.NoError(t, err)
			require.Equal(t, p, again)
		})
	}
}
