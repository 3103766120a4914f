package vectors_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
	"github.com/coffer-storage/coffer/shared/format/vectors"
	"github.com/coffer-storage/coffer/shared/format/vectors/internal/plain"
)

// long is the length in bytes above which a package is not converted to JSON, because that is slow and tests nothing new.
const long = 4 << 20

// kept caches the results of sealed by name.
var kept = map[string]format.Package{}

// sealed returns the package of a vector. It seals the package again if the file contains only its digest.
func sealed(t *testing.T, v vectors.Package) format.Package {
	t.Helper()
	if _, ok := kept[v.Name]; !ok {
		kept[v.Name] = seal(t, v)
	}
	return kept[v.Name]
}

func seal(t *testing.T, v vectors.Package) format.Package {
	if b := v.Package.Bytes(); b != nil {
		p, err := format.Parse(b)
		require.NoError(t, err)
		return p
	}
	in := plain.Input{Key: v.Key, Place: v.Place.Format(), Nonce: v.Nonce, Value: v.Value.Bytes()}
	var err error
	in.Header, err = v.Header.Format()
	require.NoError(t, err)
	if v.Details != nil {
		in.Details, err = v.Details.Format()
		require.NoError(t, err)
	}
	p, _, err := plain.Seal(in)
	require.NoError(t, err)
	return p
}

func TestPackagesRoundTrip(t *testing.T) {
	for _, v := range vectors.LoadPackages() {
		t.Run(v.Name, func(t *testing.T) {
			p := sealed(t, v)
			header, err := v.Header.Format()
			require.NoError(t, err)
			require.Equal(t, header, p.Header)

			encoded, err := p.Header.Append(nil)
			require.NoError(t, err)
			require.True(t, v.HeaderBytes.Equal(encoded))
			binary, err := p.Append(nil)
			require.NoError(t, err)
			require.True(t, v.Package.Equal(binary))
			again, err := format.Parse(binary)
			require.NoError(t, err)
			require.Equal(t, p, again)

			additional, err := format.AppendAdditionalData(nil, encoded, v.Place.Format())
			require.NoError(t, err)
			require.True(t, v.AdditionalData.Equal(additional))
		})
	}
}

func TestPackagesConvertToJSONAndBack(t *testing.T) {
	for _, v := range vectors.LoadPackages() {
		t.Run(v.Name, func(t *testing.T) {
			p := sealed(t, v)
			if len(p.Body) > long {
				return
			}
			text, err := jsonform.Marshal(p)
			require.NoError(t, err)
			if v.Package.SHA256 == nil {
				require.JSONEq(t, string(v.JSON), string(text))
				got, err := jsonform.Unmarshal(v.JSON)
				require.NoError(t, err)
				require.Equal(t, p, got)
				return
			}
			var form struct{ Metadata jsonform.Metadata }
			require.NoError(t, json.Unmarshal(v.JSON, &form))
			ciphertext, metadata, err := jsonform.Split(p)
			require.NoError(t, err)
			require.Equal(t, form.Metadata, metadata)
			got, err := jsonform.Join(ciphertext, form.Metadata)
			require.NoError(t, err)
			require.Equal(t, p, got)
		})
	}
}

func TestPackagesOpen(t *testing.T) {
	keys := documentKeys(t)
	for _, v := range vectors.LoadPackages() {
		t.Run(v.Name, func(t *testing.T) {
			p := sealed(t, v)
			key, err := keyOf(keys, v.Document, v.Secret, &p.Header, envelope.OpenPolicy{Use: p.Header.Use, MinClass: classify.Class(p.Header.Class)})
			require.NoError(t, err)
			require.Equal(t, []byte(v.Key), key)
			derived := plain.MessageKey(key, p.Header.Salt)
			if p.Header.Algorithm == format.Chunked {
				derived = plain.FileKey(key, p.Header.Salt)
			}
			require.Equal(t, []byte(v.MessageKey), derived)

			details, value, err := plain.Open(key, p, v.Place.Format())
			require.NoError(t, err)
			require.True(t, v.Value.Equal(value))
			want := format.Details{}
			if v.Details != nil {
				want, err = v.Details.Format()
				require.NoError(t, err)
			}
			require.Equal(t, want, details)
		})
	}
}

// keyring contains the index and the keys of a document.
type keyring struct {
	index *envelope.Index
	keys  map[format.KeyID][]byte
}

func documentKeys(t *testing.T) map[string]keyring {
	readers := map[string]keyring{}
	for _, v := range vectors.LoadDocuments().Documents {
		d, err := envelope.ParseDocument(v.Bytes)
		require.NoError(t, err)
		r := keyring{envelope.NewIndex(opened(d, rootsOf(v))), map[format.KeyID][]byte{}}
		for _, set := range v.Keysets {
			for _, k := range set.Keys {
				r.keys[format.KeyID(k.ID)] = k.Key
			}
		}
		readers[v.Name] = r
	}
	return readers
}

// keyOf performs the steps of SPEC.md section 6.8 that precede opening the body, and returns K.
func keyOf(readers map[string]keyring, document string, s *vectors.Secret, h *format.Header, policy envelope.OpenPolicy) ([]byte, error) {
	if s == nil {
		r, ok := readers[document]
		if !ok {
			return nil, fmt.Errorf("no document %q", document)
		}
		return r.keys[h.KeyID], r.index.CheckOpen(h, policy)
	}
	if err := classify.Class(h.Class).CheckMin(policy.MinClass); err != nil {
		return nil, err
	}
	if h.Source.String() != s.Kind {
		return nil, envelope.ErrWrongSecret
	}
	if err := envelope.CheckDerivation(h); err != nil {
		return nil, err
	}
	key, err := fromSecret(s, h.Salt, h.Iterations)
	if err != nil {
		return nil, err
	}
	return key, envelope.CheckSecret(h, plain.KeyID(key), policy)
}

// stretched caches derived keys, because several vectors need the same ones.
var stretched = map[string][]byte{}

func fromSecret(s *vectors.Secret, salt format.Salt, iterations uint32) ([]byte, error) {
	if s.Kind == "passphrase" {
		name := fmt.Sprint(s.Text, salt, iterations)
		if stretched[name] == nil {
			stretched[name] = plain.FromPassphrase(s.Text, salt, iterations)
		}
		return stretched[name], nil
	}
	master, err := base64.StdEncoding.DecodeString(s.Text)
	return plain.FromMasterKey(master), err
}

// The vectors contain every combination of class, use and type, and every source, set of flags and algorithm.
func TestPackagesCoverHeaderFields(t *testing.T) {
	seen, names := map[string]bool{}, map[string]bool{}
	for _, v := range vectors.LoadPackages() {
		require.False(t, names[v.Name], v.Name)
		names[v.Name] = true
		seen[fmt.Sprintf("%d %d %d", v.Header.Class, v.Header.Use, v.Header.Type)] = true
		seen[fmt.Sprintf("source %d", v.Header.Source)] = true
		seen[fmt.Sprintf("flags %d", v.Header.Flags)] = true
		seen[fmt.Sprintf("algorithm %d", v.Header.Algorithm)] = true
	}
	require.Len(t, seen, 5*5*7+3+16+3)
}

func TestVariantsReadAsPackage(t *testing.T) {
	for _, v := range vectors.LoadVariants() {
		p, err := jsonform.Unmarshal([]byte(v.Text))
		require.NoError(t, err, v.Name)
		binary, err := p.Append(nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(v.Package, binary), v.Name)
	}
}
