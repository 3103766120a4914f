package seal

import (
	"context"
	"crypto/cipher"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keySource provides the keys of a sealer: a keyset, a master key or a passphrase.
type keySource interface {
	owner() string
	// single reports whether one key seals for all uses and classes.
	single() bool
	// primary returns the id of the key that seals. It is zero if each salt has a key of its own.
	primary(ctx context.Context, use format.Use, class classify.Class) (format.KeyID, error)
	// begin completes the header of a new writer, in which the key id and the salt are set, and returns its cipher.
	begin(ctx context.Context, h *format.Header) (cipher.AEAD, error)
	// check returns nil if a package may be opened. It derives no key.
	check(ctx context.Context, h *format.Header, policy envelope.OpenPolicy) error
	// cipher returns the cipher of a package.
	cipher(ctx context.Context, h *format.Header) (cipher.AEAD, error)
}

// keyset is the key source of an owner's data keys.
type keyset struct{ keys Keys }

var _ keySource = keyset{}

func (k keyset) owner() string { return k.keys.Owner() }

func (k keyset) single() bool { return false }

func (k keyset) primary(ctx context.Context, use format.Use, class classify.Class) (format.KeyID, error) {
	return k.keys.Primary(ctx, use, class)
}

func (k keyset) begin(ctx context.Context, h *format.Header) (cipher.AEAD, error) {
	h.Source = format.FromKeyset
	return k.cipher(ctx, h)
}

func (k keyset) check(ctx context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	return k.keys.CheckOpen(ctx, h, policy)
}

func (k keyset) cipher(ctx context.Context, h *format.Header) (cipher.AEAD, error) {
	return k.keys.MessageCipher(ctx, h.KeyID, h.Salt)
}
