package seal

import (
	"crypto/cipher"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// When the budget of a salt is spent, the sealer draws a new one, and the packages under the former salt still open.
func TestSpentSaltIsReplaced(t *testing.T) {
	s := serviceOf(t, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").sealer
	r := Request{Use: format.UseService, Class: classify.PHI, Type: format.Bytes}
	policy := envelope.OpenPolicy{Use: format.UseService}
	first, err := s.Seal(t.Context(), nil, r, []byte("first"))
	require.NoError(t, err)
	spent := s.writerSlot(format.UseService, classify.PHI).Load()
	for spent.budget.Spend(format.MaxValue) {
	}
	second, err := s.Seal(t.Context(), nil, r, []byte("second"))
	require.NoError(t, err)
	require.NotEqual(t, first[42:58], second[42:58])
	for _, pkg := range [][]byte{first, second, first} {
		_, err := s.Open(t.Context(), nil, pkg, format.Place{}, policy)
		require.NoError(t, err)
	}
}

// A new sealer has no salt and no derived key.
func TestKeysAreDerivedAtFirstUse(t *testing.T) {
	service, err := NewPassphraseService("a passphrase")
	require.NoError(t, err)
	s := service.sealer
	require.Nil(t, s.writerSlot(format.UseService, classify.PHI).Load())
	require.Empty(t, s.source.(*passphrase).cached.Keys())
}

// Packages under many salts do not make a sealer cache more ciphers than its limit.
func TestCipherCacheIsBounded(t *testing.T) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	reader := serviceOf(t, key).sealer
	reader.ciphers = newLRU[messageID, cipher.AEAD](8)
	for range 20 {
		pkg, err := serviceOf(t, key).Encrypt(t.Context(), []byte("x"), classify.PHI, nil)
		require.NoError(t, err)
		_, err = reader.Open(t.Context(), nil, pkg, format.Place{}, envelope.OpenPolicy{Use: format.UseService})
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
