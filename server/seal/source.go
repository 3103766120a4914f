package seal

import (
	"crypto/cipher"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// source is where a sealer's keys come from: a keyset, a random master key or a passphrase.
type source interface {
	owner() string
	// single says that the key has neither use nor class.
	single() bool
	// primary names the key that seals; the zero id where each salt has a key of its own.
	primary(use format.Use, class classify.Class) (format.KeyID, error)
	// begin completes the header of a new writer, which has its primary and salt, and gives its cipher.
	begin(h *format.Header) (cipher.AEAD, error)
	// check decides whether a package may be opened, before any derivation.
	check(h *format.Header, policy envelope.OpenPolicy) error
	// cipher derives the cipher of a package.
	cipher(h *format.Header) (cipher.AEAD, error)
}

// keyset is the source of an owner's data keys.
type keyset struct{ keys Keys }

var _ source = keyset{}

func (k keyset) owner() string { return k.keys.Owner() }

func (k keyset) single() bool { return false }

func (k keyset) primary(use format.Use, class classify.Class) (format.KeyID, error) {
	return k.keys.Primary(use, class)
}

func (k keyset) begin(h *format.Header) (cipher.AEAD, error) {
	h.Source = format.FromKeyset
	return k.cipher(h)
}

func (k keyset) check(h *format.Header, policy envelope.OpenPolicy) error {
	return k.keys.CheckOpen(h, policy)
}

func (k keyset) cipher(h *format.Header) (cipher.AEAD, error) {
	return k.keys.MessageCipher(h.KeyID, h.Salt)
}
