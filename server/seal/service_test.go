package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
	"github.com/coffer-storage/coffer/shared/format/jsonform"
)

const masterKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func masterKeyService(t *testing.T, text string) *seal.Service {
	key, err := seal.ParseMasterKey(text)
	require.NoError(t, err)
	s, err := seal.NewService(key)
	require.NoError(t, err)
	return s
}

func services(t *testing.T) map[string]*seal.Service {
	random := masterKeyService(t, masterKey)
	phrase, err := seal.NewPassphraseService("correct horse battery staple")
	require.NoError(t, err)
	return map[string]*seal.Service{"master key": random, "passphrase": phrase, "keyset": seal.NewKeysetService(newKeys(t, "tenant"))}
}

// Ciphertext and metadata can be stored apart, the metadata as JSON.
func TestServiceDecryptsStoredCiphertextAndMetadata(t *testing.T) {
	context := map[string]string{"user_id": "user_123", "field": "ssn"}
	for name, s := range services(t) {
		t.Run(name, func(t *testing.T) {
			for _, class := range classify.All {
				text, m, err := s.EncryptString(t.Context(), "123-45-6789 é", class, context)
				require.NoError(t, err)
				require.Equal(t, []any{"1.0", class.String(), context, "text", "service"}, []any{m.Version, m.Classification, m.Context, m.ValueType, m.Use})
				stored, err := json.Marshal(m)
				require.NoError(t, err)
				var back seal.Metadata
				require.NoError(t, json.Unmarshal(stored, &back))
				plain, err := s.DecryptString(t.Context(), text, back)
				require.NoError(t, err)
				require.Equal(t, "123-45-6789 é", plain)

				data, m, err := s.EncryptData(t.Context(), []byte{0, 0xFF, 1}, class, nil)
				require.NoError(t, err)
				require.Len(t, data, 3+format.TagSize)
				bytes, err := s.DecryptData(t.Context(), data, m)
				require.NoError(t, err)
				require.Equal(t, []byte{0, 0xFF, 1}, bytes)
				_, err = s.DecryptString(t.Context(), base64.StdEncoding.EncodeToString(data), m)
				require.ErrorIs(t, err, seal.ErrNotText)
			}
		})
	}
}

func TestServiceDecryptsPackagesInBothForms(t *testing.T) {
	for name, s := range services(t) {
		t.Run(name, func(t *testing.T) {
			pkg, err := s.Encrypt(t.Context(), []byte("bytes"), classify.PHI, map[string]string{"k": "v"})
			require.NoError(t, err)
			o, err := s.Decrypt(t.Context(), pkg, seal.MinClass(classify.PHI))
			require.NoError(t, err)
			require.Equal(t, "bytes", string(o.Value))
			require.Equal(t, format.Bytes, o.Header.Type)

			text, err := s.EncryptJSON(t.Context(), "text", classify.PII, map[string]string{"k": "v"})
			require.NoError(t, err)
			require.True(t, json.Valid(text))
			o, err = s.DecryptJSON(t.Context(), text)
			require.NoError(t, err)
			require.Equal(t, "text", string(o.Value))
			_, err = s.DecryptJSON(t.Context(), text, seal.MinClass(classify.PHI))
			require.ErrorIs(t, err, classify.ErrTooLow)

			p, err := jsonform.Unmarshal(text) // the same package in the binary form
			require.NoError(t, err)
			binary, err := p.Append(nil)
			require.NoError(t, err)
			again, err := s.Decrypt(t.Context(), binary)
			require.NoError(t, err)
			require.Equal(t, o, again)
		})
	}
}

func TestServiceRefusesInvalidArguments(t *testing.T) {
	s := services(t)["master key"]
	_, _, err := s.EncryptString(t.Context(), "x", 0, nil)
	require.ErrorIs(t, err, classify.ErrUnknown)
	_, _, err = s.EncryptData(t.Context(), nil, 6, nil)
	require.ErrorIs(t, err, classify.ErrUnknown)
	_, _, err = s.EncryptString(t.Context(), "\xff", classify.PHI, nil)
	require.ErrorIs(t, err, format.ErrInvalid)
	_, _, err = s.EncryptString(t.Context(), "x", classify.PHI, map[string]string{"\xff": ""})
	require.ErrorIs(t, err, format.ErrInvalid)
	_, err = s.Encrypt(t.Context(), nil, classify.PHI, map[string]string{"k": strings.Repeat("x", format.MaxContext)})
	require.ErrorIs(t, err, format.ErrTooLarge)

	text, m, err := s.EncryptString(t.Context(), "x", classify.PHI, map[string]string{"patient": "P1"})
	require.NoError(t, err)
	for _, bad := range []string{"", "%", text[:len(text)-1], text + "\n", "AAAA"} {
		_, err = s.DecryptString(t.Context(), bad, m)
		require.Contains(t, []string{"malformed", "authentication_failed"}, codes.Of(err).Code, bad)
	}
	_, err = s.DecryptString(t.Context(), text, seal.Metadata{})
	require.ErrorIs(t, err, format.ErrMalformed)
	m.Context = map[string]string{"patient": "P2"}
	_, err = s.DecryptString(t.Context(), text, m)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
	m.Context = map[string]string{"patient": "P1"}
	m.Classification = "internal"
	_, err = s.DecryptString(t.Context(), text, m)
	require.ErrorIs(t, err, envelope.ErrAuthentication)
}

// A package under another secret is refused with ErrWrongSecret or ErrUnknownKey, and not as an altered package.
func TestDecryptReportsWrongSecret(t *testing.T) {
	all := services(t)
	sealed := map[string][]byte{}
	for name, s := range all {
		pkg, err := s.Encrypt(t.Context(), []byte("x"), classify.Internal, nil)
		require.NoError(t, err)
		sealed[name] = pkg
	}
	for reader, s := range all {
		for writer, pkg := range sealed {
			_, err := s.Decrypt(t.Context(), pkg)
			switch {
			case reader == writer:
				require.NoError(t, err)
			case reader == "keyset":
				require.ErrorIs(t, err, envelope.ErrUnknownKey)
			default:
				require.ErrorIs(t, err, envelope.ErrWrongSecret)
			}
		}
	}
	otherPassphrase, err := seal.NewPassphraseService("incorrect horse")
	require.NoError(t, err)
	_, err = otherPassphrase.Decrypt(t.Context(), sealed["passphrase"])
	require.ErrorIs(t, err, envelope.ErrWrongSecret)
	_, err = masterKeyService(t, strings.Replace(masterKey, "A", "B", 1)).Decrypt(t.Context(), sealed["master key"])
	require.ErrorIs(t, err, envelope.ErrWrongSecret)
}

func TestNewServiceRefusesOtherLengths(t *testing.T) {
	for _, key := range []string{"", masterKey, "your-master-key", strings.Repeat("x", 31), strings.Repeat("x", 33)} {
		_, err := seal.NewService([]byte(key))
		require.ErrorIs(t, err, seal.ErrMasterKey)
		require.ErrorContains(t, err, "passphrase")
	}
	_, err := seal.ParseMasterKey("your-master-key")
	require.ErrorIs(t, err, seal.ErrMasterKey)
}

// A passphrase that has the form of a master key is still a passphrase.
func TestPassphraseIsNeverTakenForAKey(t *testing.T) {
	passphrase, err := seal.NewPassphraseService(masterKey)
	require.NoError(t, err)
	pkg, err := passphrase.Encrypt(t.Context(), nil, classify.PHI, nil)
	require.NoError(t, err)
	h, _, err := format.ParseHeader(pkg)
	require.NoError(t, err)
	require.Equal(t, format.FromPassphrase, h.Source)
	_, err = masterKeyService(t, masterKey).Decrypt(t.Context(), pkg)
	require.ErrorIs(t, err, envelope.ErrWrongSecret)
}

func TestNewPassphraseServiceRefuses(t *testing.T) {
	for _, passphrase := range []string{"", "\xff"} {
		_, err := seal.NewPassphraseService(passphrase)
		require.ErrorIs(t, err, seal.ErrPassphrase)
	}
	_, err := seal.NewPassphraseService("a passphrase", seal.WithIterations(classify.MaxIterations+1))
	require.ErrorIs(t, err, classify.ErrIterations)
}

// Iterations below the minimum are raised to it, with a warning that contains both numbers, but no secret. Iterations
// above it are used.
func TestIterationsAreRaisedToTheMinimum(t *testing.T) {
	var log bytes.Buffer
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(former)
	for configured, want := range map[uint32]uint32{100_000: classify.MinWriteIterations, classify.MinWriteIterations + 1: classify.MinWriteIterations + 1} {
		log.Reset()
		s, err := seal.NewPassphraseService("planted passphrase", seal.WithIterations(configured))
		require.NoError(t, err)
		_, m, err := s.EncryptString(t.Context(), "x", classify.Internal, nil)
		require.NoError(t, err)
		require.Equal(t, want, m.Iterations)
		require.Equal(t, configured < classify.MinWriteIterations, strings.Contains(log.String(), "configured=100000 used=600000"))
		require.NotContains(t, log.String(), "planted")
	}
}

// A package whose iterations are out of bounds is refused before any derivation.
func TestIterationsAreCheckedBeforeDerivation(t *testing.T) {
	s := services(t)["passphrase"]
	pkg, err := s.Encrypt(t.Context(), []byte("x"), classify.PHI, nil)
	require.NoError(t, err)
	for _, n := range []uint32{1, classify.PHI.Rules().MinReadIterations - 1, classify.MaxIterations + 1, 1<<32 - 1} {
		p, err := format.Parse(pkg)
		require.NoError(t, err)
		p.Header.Iterations = n
		altered, err := p.Append(nil)
		require.NoError(t, err)
		start := time.Now()
		_, err = s.Decrypt(t.Context(), altered)
		require.ErrorIs(t, err, classify.ErrIterations)
		require.Less(t, time.Since(start), 20*time.Second, "2^32 iterations take half an hour")
	}
}
