package seal

import (
	"context"
	"crypto/cipher"
	"crypto/subtle"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// masterKey is the key source of a master key.
type masterKey struct {
	key *secret.Key
	id  format.KeyID
}

var _ keySource = (*masterKey)(nil)

func newMasterKey(key *secret.Key) *masterKey { return &masterKey{key, key.ID()} }

func (m *masterKey) owner() string { return "" }

func (m *masterKey) single() bool { return true }

func (m *masterKey) primary(_ context.Context, _ format.Use, _ classify.Class) (format.KeyID, error) {
	return m.id, nil
}

func (m *masterKey) begin(ctx context.Context, h *format.Header) (cipher.AEAD, error) {
	h.Source = format.FromMasterKey
	return m.cipher(ctx, h)
}

func (m *masterKey) check(_ context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	if err := checkSource(h, format.FromMasterKey, policy); err != nil {
		return err
	}
	return checkKeyID(h, m.id)
}

func (m *masterKey) cipher(_ context.Context, h *format.Header) (cipher.AEAD, error) {
	return m.key.MessageCipher(h.Salt)
}

// checkSource checks the header like envelope.CheckSecret, except for the key id, since no key is derived yet. It
// returns envelope.ErrWrongSecret if the package has another key source.
func checkSource(h *format.Header, source format.Source, policy envelope.OpenPolicy) error {
	if err := envelope.CheckSecret(h, h.KeyID, policy); err != nil {
		return err
	}
	if h.Source != source {
		return envelope.ErrWrongSecret
	}
	return nil
}

// checkKeyID returns envelope.ErrWrongSecret if the package was sealed under another key.
func checkKeyID(h *format.Header, id format.KeyID) error {
	if subtle.ConstantTimeCompare(h.KeyID[:], id[:]) != 1 {
		return envelope.ErrWrongSecret
	}
	return nil
}
