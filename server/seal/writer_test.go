package seal

import (
	"crypto/cipher"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A salt whose budget is spent gives way to a new one, and what was sealed under it still opens.
func TestSpentSalt(t *testing.T) {
	s := serviceOf(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").sealer
	r := Request{Use: format.UseService, Class: classify.PHI, Type: format.Bytes}
	policy := envelope.OpenPolicy{Use: format.UseService}
	first, err := s.Seal(nil, r, []byte("first"))
	require.NoError(t, err)
	spent := s.slot(format.UseService, classify.PHI).Load()
	for spent.budget.Spend(format.MaxValue) {
	}
	second, err := s.Seal(nil, r, []byte("second"))
	require.NoError(t, err)
	require.NotEqual(t, first[42:58], second[42:58])
	for _, pkg := range [][]byte{first, second, first} {
		_, err := s.Open(nil, pkg, format.Place{}, policy)
		require.NoError(t, err)
	}
}

// Nothing is drawn and nothing is derived before something is sealed.
func TestNothingAtTheStart(t *testing.T) {
	service, err := NewPassphraseService("a passphrase")
	require.NoError(t, err)
	s := service.sealer
	require.Nil(t, s.slot(format.UseService, classify.PHI).Load())
	require.Empty(t, s.source.(*passphrase).kept.Keys())
}

// A flood of packages under other salts does not make a reader keep more than it may.
func TestKeptCiphersAreBounded(t *testing.T) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	reader := serviceOf(t, key).sealer
	reader.ciphers = newCache[message, cipher.AEAD](8)
	for range 20 {
		pkg, err := serviceOf(t, key).Encrypt([]byte("x"), classify.PHI, nil)
		require.NoError(t, err)
		_, err = reader.Open(nil, pkg, format.Place{}, envelope.OpenPolicy{Use: format.UseService})
		require.NoError(t, err)
	}
	require.Equal(t, 8, reader.ciphers.Len())
}

func serviceOf(t *testing.T, key string) *Service {
	masterKey, err := ParseMasterKey(key)
	require.NoError(t, err)
	s, err := NewService(masterKey)
	require.NoError(t, err)
	return s
}
