package vectors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// requireOutcome requires that err has the given code, or is nil if the code is empty.
func requireOutcome(t *testing.T, code string, err error) {
	t.Helper()
	if code == "" {
		require.NoError(t, err)
		return
	}
	requireCode(t, code, err)
}

func TestRuleVectors(t *testing.T) {
	rules := vectors.LoadRules()
	for _, v := range rules.Sessions {
		t.Run("session/"+v.Name, func(t *testing.T) {
			id := make([]byte, 32)
			for i := range id {
				id[i] = byte(i)
			}
			require.Equal(t, []byte(v.MasterKey), plain.SessionKey(id, v.Owner))
			require.Equal(t, v.StoredAs, plain.SessionName(id, v.Owner))
		})
	}
	for _, v := range rules.Collections {
		t.Run("collection/"+v.Name, func(t *testing.T) {
			got, err := format.FieldCollection(v.Table, v.Column)
			requireOutcome(t, v.Code, err)
			require.Equal(t, v.Collection, got)
		})
	}
	for _, v := range rules.Paddings {
		require.Equal(t, v.Padded, format.PaddedSize(v.Length), "padding of %d", v.Length)
	}
	for _, v := range rules.Bodies {
		t.Run("body/"+v.Name, func(t *testing.T) {
			h := format.Header{Algorithm: format.Algorithm(v.Algorithm), Flags: format.Flags(v.Flags)}
			requireOutcome(t, v.Code, format.CheckBody(&h, int(v.Length)))
		})
	}
	for _, v := range rules.Inputs {
		t.Run("input/"+v.Name, func(t *testing.T) { requireOutcome(t, v.Code, sealInput(v)) })
	}
	for _, v := range rules.Revisions {
		t.Run("revision/"+v.Name, func(t *testing.T) {
			for _, pair := range []struct {
				a, b []byte
				want bool
			}{{v.Later, v.Earlier, true}, {v.Earlier, v.Later, false}} {
				got, err := format.Supersedes(pair.a, pair.b)
				require.NoError(t, err)
				require.Equal(t, pair.want, got)
			}
		})
	}
}

// sealInput seals an empty value with the input of a vector and opens it again.
func sealInput(v vectors.Input) error {
	key := make([]byte, format.KeySize)
	context, err := format.NewContext(v.Context)
	if err != nil {
		return err
	}
	details, err := v.Details.Format()
	if err != nil {
		return err
	}
	h := format.Header{
		Algorithm: format.AES256GCM, Use: format.UseStorage, Flags: format.Flags(v.Flags), Source: format.FromKeyset, Class: uint8(classify.PHI),
		Type: format.ValueType(v.Type), KeyID: plain.KeyID(key), Context: context,
	}
	p, _, err := plain.Seal(plain.Input{Key: key, Header: h, Place: v.Place.Format(), Details: details, Nonce: make([]byte, format.NonceSize)})
	if err == nil {
		_, _, err = plain.Open(key, p, v.Place.Format())
	}
	return err
}

func TestPrimariesSealOrFail(t *testing.T) {
	indexes := map[string]*envelope.Index{}
	for _, v := range vectors.LoadDocuments().Documents {
		d, err := envelope.ParseDocument(v.Bytes)
		require.NoError(t, err)
		indexes[v.Name] = envelope.NewIndex(opened(d, rootsOf(v)))
	}
	seen := map[string]bool{}
	for _, v := range vectors.LoadRules().Primaries {
		t.Run(v.Name, func(t *testing.T) {
			id, err := indexes[v.Document].Primary(format.Use(v.Use), classify.Class(v.Class))
			requireOutcome(t, v.Code, err)
			seen[v.Code] = true
			if v.Code == "" {
				require.Equal(t, []byte(v.KeyID), id[:])
			}
		})
	}
	require.Equal(t, map[string]bool{"": true, "key_unusable": true, "key_destroyed": true}, seen)
}

// rootsOf returns the unwrapped roots of a document's vector.
func rootsOf(v vectors.Document) plain.Roots {
	roots := plain.Roots{}
	for _, s := range v.Slots {
		if s.Root != nil {
			roots[envelope.Root{Line: [16]byte(s.Line), Generation: s.Generation, ID: format.KeyID(s.RootID)}] = s.Root
		}
	}
	return roots
}
