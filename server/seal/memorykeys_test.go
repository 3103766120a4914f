package seal_test

import (
	"context"
	"crypto/cipher"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keys is a keyset in memory with a key for every use and class.
type keys struct {
	document *envelope.Document
	index    atomic.Pointer[envelope.Index]
	deks     map[format.KeyID]*secret.Key
	derived  atomic.Int64 // calls of MessageCipher
}

var _ seal.Keys = (*keys)(nil)

func newKeys(t testing.TB, owner string) *keys {
	k := &keys{document: &envelope.Document{Environment: "test", Owner: owner}, deks: map[format.KeyID]*secret.Key{}}
	for use := format.UseStorage; use <= format.UseFile; use++ {
		for _, class := range classify.All {
			k.rotate(t, use, class)
		}
	}
	return k
}

// rotate adds a new primary key.
func (k *keys) rotate(t testing.TB, use format.Use, class classify.Class) format.KeyID {
	dek := secret.New()
	require.NoError(t, k.document.AddKey(use, class, envelope.Key{
		ID: dek.ID(), State: envelope.Enabled, Root: envelope.Root{Generation: 1}, Wrapped: make([]byte, envelope.WrappedSize),
	}))
	k.deks[dek.ID()] = dek
	k.index.Store(envelope.NewIndex(k.document))
	return dek.ID()
}

// advance changes the state of a key.
func (k *keys) advance(t testing.TB, use format.Use, class classify.Class, id format.KeyID, to envelope.State) {
	require.NoError(t, k.document.Advance(use, class, id, to))
	k.index.Store(envelope.NewIndex(k.document))
}

func (k *keys) Owner() string { return k.document.Owner }

func (k *keys) Primary(_ context.Context, use format.Use, class classify.Class) (format.KeyID, error) {
	return k.index.Load().Primary(use, class)
}

func (k *keys) CheckOpen(_ context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	return k.index.Load().CheckOpen(h, policy)
}

func (k *keys) MessageCipher(_ context.Context, id format.KeyID, salt format.Salt) (cipher.AEAD, error) {
	dek, ok := k.deks[id]
	if !ok {
		return nil, envelope.ErrUnknownKey
	}
	k.derived.Add(1)
	return dek.MessageCipher(salt)
}
