package kms

import (
	"context"
	"encoding/hex"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// local is a KEK in this process's memory. What it wraps is the id of its key, so that a wrong KEK can be
// told from tampering, then nonce || AES-256-GCM || tag.
type local struct {
	key *secret.Key
	id  format.KeyID
}

var _ KEK = (*local)(nil)

// NewLocal returns a KEK in the memory of this process whose key is a master key of exactly 32 random bytes, which the caller may clear
// afterwards. For any other length it returns an error with the code invalid_argument.
func NewLocal(masterKey []byte) (KEK, error) {
	key, err := secret.FromMasterKey(masterKey)
	if err != nil {
		return nil, err
	}
	return newLocal(key), nil
}

func newLocal(key *secret.Key) *local { return &local{key: key, id: key.ID()} }

// URL is the same whether the key came from a URL, a file or the environment: it names the key.
func (l *local) URL() string { return "base64key://" + hex.EncodeToString(l.id[:8]) }

func (l *local) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(key) > maxKey {
		return nil, envelope.ErrTooLarge
	}
	sealed, err := l.key.SealBytes(key, additionalData)
	if err != nil {
		return nil, err
	}
	return append(l.id[:len(l.id):len(l.id)], sealed...), nil
}

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
