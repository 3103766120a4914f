package seal_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// readers are the sealers that the vectors name, each made once.
type readers map[string]*seal.Sealer

func newReaders(t *testing.T) readers {
	r := readers{}
	for _, v := range vectors.LoadDocuments().Documents {
		d, err := envelope.ParseDocument(v.Bytes)
		require.NoError(t, err)
		k := &keys{document: d, deks: map[format.KeyID]*secret.Key{}}
		k.index.Store(envelope.NewIndex(d))
		for _, set := range v.Keysets {
			for _, key := range set.Keys {
				if key.Key != nil {
					k.deks[format.KeyID(key.ID)], err = secret.FromBytes(key.Key)
					require.NoError(t, err)
				}
			}
		}
		r[v.Name] = seal.NewSealer(k)
	}
	return r
}

func (r readers) of(t *testing.T, document string, s *vectors.Secret) *seal.Sealer {
	if s == nil {
		require.Contains(t, r, document)
		return r[document]
	}
	name := s.Kind + s.Text
	if r[name] == nil {
		service, err := seal.NewPassphraseService(s.Text)
		require.NoError(t, err)
		if s.Kind == "master-key" {
			service = masterKeyService(t, s.Text)
		}
		r[name] = service.Sealer()
	}
	return r[name]
}

// Every package of the vectors opens, in the binary and the JSON form.
func TestVectorPackagesOpen(t *testing.T) {
	r, opened := newReaders(t), 0
	for _, v := range vectors.LoadPackages() {
		if v.Package.SHA256 != nil {
			continue // its bytes are not in the file
		}
		t.Run(v.Name, func(t *testing.T) {
			s := r.of(t, v.Document, v.Secret)
			policy := envelope.OpenPolicy{Use: format.Use(v.Header.Use), MinClass: classify.Class(v.Header.Class)}
			o, err := s.Open(t.Context(), nil, v.Package.Bytes(), v.Place.Format(), policy)
			if class := classify.Class(v.Header.Class); v.Header.Iterations > 0 && class.CheckIterations(v.Header.Iterations) != nil {
				require.ErrorIs(t, err, classify.ErrIterations) // the class requires more than the format
				return
			}
			if !v.Open {
				require.ErrorIs(t, err, format.ErrUnsupportedVersion)
				return
			}
			require.NoError(t, err)
			require.True(t, v.Value.Equal(o.Value))
			header, err := v.Header.Format()
			require.NoError(t, err)
			require.Equal(t, header, o.Header)
			details := format.Details{}
			if v.Details != nil {
				details, err = v.Details.Format()
				require.NoError(t, err)
			}
			require.Equal(t, details, o.Details)

			p, err := jsonform.Unmarshal(v.JSON)
			require.NoError(t, err)
			binary, err := p.Append(nil)
			require.NoError(t, err)
			require.True(t, v.Package.Equal(binary))
			opened++
		})
	}
	require.Greater(t, opened, 200)
}

// Every invalid package of the vectors is refused with the error code of the vector, by a sealer that has opened all
// valid packages and by a new one.
func TestInvalidVectorPackagesAreRefused(t *testing.T) {
	r, packages := newReaders(t), map[string][]byte{}
	for _, v := range vectors.LoadPackages() {
		packages[v.Name] = v.Package.Bytes()
		if v.Package.SHA256 == nil && v.Open && (v.Header.Iterations == 0 || v.Header.Iterations >= classify.PHI.Rules().MinReadIterations) {
			_, err := r.of(t, v.Document, v.Secret).Open(t.Context(), nil, packages[v.Name], v.Place.Format(), envelope.OpenPolicy{Use: format.Use(v.Header.Use)})
			require.NoError(t, err)
		}
	}
	require.NotEmpty(t, vectors.LoadInvalid().Open)
	for _, v := range vectors.LoadInvalid().Open {
		for name, from := range map[string]readers{"warm": r, "cold": newReaders(t)} {
			t.Run(v.Name+"/"+name, func(t *testing.T) {
				s := from.of(t, v.Document, v.Secret)
				pkg := v.Bytes(packages)
				o, err := s.Open(t.Context(), nil, pkg, v.Place.Format(), envelope.OpenPolicy{Use: format.Use(v.Use), MinClass: classify.Class(v.Least)})
				code := codes.Of(err).Code
				if format.Algorithm(pkg[4]) != format.Chunked || code != format.ErrUnsupportedVersion.Code() {
					require.Equal(t, v.Code, code)
				}
				require.Zero(t, o)
			})
		}
	}
	for _, v := range vectors.LoadInvalid().Binary {
		t.Run(v.Name, func(t *testing.T) {
			_, err := r["all uses"].Open(t.Context(), nil, v.Bytes.Bytes(), format.Place{}, envelope.OpenPolicy{Use: format.UseService})
			require.Equal(t, v.Code, codes.Of(err).Code)
		})
	}
}

// A value that is not text opens as bytes, even if its type is text.
func TestVectorValuesThatAreNotText(t *testing.T) {
	r := newReaders(t)
	for _, v := range vectors.LoadInvalid().Decode {
		t.Run(v.Name, func(t *testing.T) {
			s := r.of(t, v.Document, v.Secret)
			o, err := s.Open(t.Context(), nil, v.Package.Bytes(), v.Place.Format(), envelope.OpenPolicy{Use: format.Use(v.Use)})
			require.NoError(t, err)
			if o.Header.Type == format.JSON && utf8.Valid(o.Value) {
				require.False(t, json.Valid(o.Value))
				return
			}
			require.False(t, utf8.Valid(o.Value))
		})
	}
}

// Each secret of the vectors is a master key, a passphrase or invalid.
func TestVectorSecrets(t *testing.T) {
	for _, v := range vectors.LoadRules().Secrets {
		t.Run(v.Name, func(t *testing.T) {
			text := v.Text
			if v.Hex != nil {
				text = string(v.Hex)
			}
			masterKey, err := secret.ParseMasterKey(text)
			if v.Kind == "master-key" {
				require.NoError(t, err)
				key, err := secret.FromMasterKey(masterKey)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Key), key.Append(nil))
				return
			}
			require.ErrorIs(t, err, secret.ErrMasterKey)
			password, err := secret.NewPassword(text)
			if v.Code != "" {
				require.Equal(t, v.Code, codes.Of(err).Code)
				return
			}
			require.Equal(t, "passphrase", v.Kind)
			key, err := password.Key(format.Salt(v.Salt), v.Iterations)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Key), key.Append(nil))
		})
	}
}
