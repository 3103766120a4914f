package seal

import (
	"crypto/cipher"
	"crypto/subtle"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// masterKey is the source of packages under 32 random bytes.
type masterKey struct {
	key *secret.Key
	id  format.KeyID
}

var _ source = (*masterKey)(nil)

func newMasterKey(key *secret.Key) *masterKey { return &masterKey{key, key.ID()} }

func (m *masterKey) owner() string { return "" }

func (m *masterKey) single() bool { return true }

func (m *masterKey) primary(format.Use, classify.Class) (format.KeyID, error) { return m.id, nil }

func (m *masterKey) begin(h *format.Header) (cipher.AEAD, error) {
	h.Source = format.FromMasterKey
	return m.cipher(h)
}

func (m *masterKey) check(h *format.Header, policy envelope.OpenPolicy) error {
	if err := checkSource(h, format.FromMasterKey, policy); err != nil {
		return err
	}
	return sameKey(h, m.id)
}

func (m *masterKey) cipher(h *format.Header) (cipher.AEAD, error) { return m.key.MessageCipher(h.Salt) }

// checkSource is all of envelope.CheckSecret that can be decided before a key is derived. It returns
// envelope.ErrWrongSecret for a package whose key comes from elsewhere.
func checkSource(h *format.Header, source format.Source, policy envelope.OpenPolicy) error {
	if err := envelope.CheckSecret(h, h.KeyID, policy); err != nil {
		return err
	}
	if h.Source != source {
		return envelope.ErrWrongSecret
	}
	return nil
}

func sameKey(h *format.Header, id format.KeyID) error {
	if subtle.ConstantTimeCompare(h.KeyID[:], id[:]) != 1 {
		return envelope.ErrWrongSecret
	}
	return nil
}
