package kms

import (
	"context"
	"encoding/hex"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// local is a KEK in the memory of this process. A wrapped key begins with the id of its key, so that Unwrap can
// distinguish a wrong KEK from tampering:
//
//	key id (32) || nonce (12) || AES-256-GCM ciphertext || tag (16)
type local struct {
	key *secret.Key
	id  format.KeyID
}

var _ KEK = (*local)(nil)

// NewLocal returns a KEK in the memory of this process whose key is a master key of exactly 32 random bytes, which the
// caller may clear afterwards. For any other length it returns an error with the code invalid_argument.
func NewLocal(masterKey []byte) (KEK, error) {
	key, err := secret.FromMasterKey(masterKey)
	if err != nil {
		return nil, err
	}
	return newLocal(key), nil
}

func newLocal(key *secret.Key) *local { return &local{key: key, id: key.ID()} }

// URL implements KEK. It depends on the key only, not on where the key came from.
func (l *local) URL() string { return "base64key://" + hex.EncodeToString(l.id[:8]) }

// Wrap implements KEK.
func (l *local) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(key) > maxKeySize {
		return nil, envelope.ErrTooLarge
	}
	sealed, err := l.key.SealBytes(key, additionalData)
	if err != nil {
		return nil, err
	}
	return append(l.id[:len(l.id):len(l.id)], sealed...), nil
}

// Unwrap implements KEK.
func (l *local) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) < format.KeyIDSize || len(wrapped) > envelope.MaxWrapped {
		return nil, envelope.ErrAuthentication
	}
	if format.KeyID(wrapped) != l.id {
		return nil, ErrWrongKey
	}
	return l.key.OpenBytes(wrapped[format.KeyIDSize:], additionalData)
}
