// Package secret holds 32-byte secrets (data keys, roots, KEKs and keys derived from passwords), and contains the
// server's calls of cryptographic primitives.
//
// It guarantees that
//   - a secret is used only as the input of HKDF, each time with another label (SPEC.md section 4),
//   - a wrapped key unwraps only in its own place,
//   - package fmt and the handlers of log/slog print a placeholder instead of a secret.
package secret

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Key is a 32-byte secret. The zero Key must not be used.
type Key struct{ bytes [format.KeySize]byte }

// placeholder is printed instead of a secret.
const placeholder = "[secret]"

// New returns a random secret.
func New() *Key {
	k := new(Key)
	_, _ = rand.Read(k.bytes[:]) // crypto/rand never returns an error
	return k
}

// FromBytes returns the secret with a copy of the bytes. It returns format.ErrInvalid unless there are 32.
func FromBytes(b []byte) (*Key, error) {
	if len(b) != format.KeySize {
		return nil, format.ErrInvalid
	}
	return &Key{[format.KeySize]byte(b)}, nil
}

// ID returns the key id, a commitment to the key by which packages and documents identify it.
func (k *Key) ID() format.KeyID {
	return format.KeyID(k.derive(nil, format.LabelKeyID).bytes)
}

// MessageCipher returns the cipher for the packages of a data key under one salt. It draws random nonces: Seal returns,
// and Open expects, nonce || ciphertext || tag.
func (k *Key) MessageCipher(salt format.Salt) (cipher.AEAD, error) {
	message := k.derive(salt[:], format.LabelMessageKey)
	defer message.Clear()
	return newCipher(message.bytes[:])
}

// MAC returns HMAC-SHA256 (RFC 2104) under a key that is derived from k with a label: envelope.LabelRecordMAC for the
// records of a keyset document, envelope.LabelBackup for the content of a backup.
func (k *Key) MAC(label string) hash.Hash {
	derived := k.derive(nil, label)
	defer derived.Clear()
	return hmac.New(sha256.New, derived.bytes[:])
}

// Append appends the bytes of the secret to dst, for a KMS to wrap. The caller must clear them after use.
func (k *Key) Append(dst []byte) []byte { return append(dst, k.bytes[:]...) }

// Clear overwrites the secret with zeros.
func (k *Key) Clear() { clear(k.bytes[:]) }

// derive derives a key with a label.
func (k *Key) derive(salt []byte, label string) *Key {
	b, err := HKDF(k.bytes[:], salt, label, format.KeySize)
	if err != nil {
		panic(err) // cannot happen: HKDF refuses only longer outputs and, in FIPS mode, shorter inputs
	}
	defer clear(b)
	return &Key{[format.KeySize]byte(b)}
}

// Format implements fmt.Formatter: every verb prints a placeholder.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// MarshalText implements encoding.TextMarshaler for log handlers and encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Wrap encrypts another key under k and returns nonce || ciphertext || tag of AES-256-GCM, with the binding b as
// additional data (section 5 of shared/envelope/SPEC.md).
func (k *Key) Wrap(key *Key, b envelope.Binding) ([]byte, error) {
	return k.SealBytes(key.bytes[:], b.Append(nil))
}

// Unwrap decrypts a key that Wrap encrypted. It returns envelope.ErrAuthentication if wrapped was altered, was made
// under another key or with another binding, or does not contain the key with the id b.ID.
func (k *Key) Unwrap(wrapped []byte, b envelope.Binding) (*Key, error) {
	plain, err := k.OpenBytes(wrapped, b.Append(nil))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := FromBytes(plain)
	if err != nil || key.ID() != b.ID {
		return nil, envelope.ErrAuthentication
	}
	return key, nil
}

// SealBytes encrypts bytes under the wrapping key of k and returns nonce || ciphertext || tag.
func (k *Key) SealBytes(plain, additionalData []byte) ([]byte, error) {
	aead, err := k.wrappingCipher()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, additionalData), nil
}

// OpenBytes decrypts the result of SealBytes. It returns envelope.ErrAuthentication if that is not possible.
func (k *Key) OpenBytes(sealed, additionalData []byte) ([]byte, error) {
	aead, err := k.wrappingCipher()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, additionalData)
	if err != nil {
		return nil, envelope.ErrAuthentication
	}
	return plain, nil
}

func (k *Key) wrappingCipher() (cipher.AEAD, error) {
	wrapping := k.derive(nil, envelope.LabelWrappingKey)
	defer wrapping.Clear()
	return newCipher(wrapping.bytes[:])
}
