// Package secret holds 32-byte secrets (DEKs, roots, KEKs, keys of passwords) and does the only things that
// are done with them.
//
// It is where the server's cryptographic primitives are called. What it guarantees is that a secret is only
// ever the input of HKDF, each time under a label of its own (SPEC.md section 4), that a wrapped key unwraps
// in its own place only, and that a secret is never printed: every verb of package fmt and every handler of
// log/slog shows a placeholder.
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

// Key is a 32-byte secret. The zero Key is not one.
type Key struct{ bytes [format.KeySize]byte }

// placeholder is what is shown of a secret.
const placeholder = "[secret]"

// New draws a secret from the operating system's generator.
func New() *Key {
	k := new(Key)
	_, _ = rand.Read(k.bytes[:]) // never fails: crypto/rand ends the program instead
	return k
}

// FromBytes makes a secret of exactly 32 bytes, which it copies; anything else is format.ErrInvalid.
func FromBytes(b []byte) (*Key, error) {
	if len(b) != format.KeySize {
		return nil, format.ErrInvalid
	}
	return &Key{[format.KeySize]byte(b)}, nil
}

// ID is the key's commitment, by which packages and documents name it.
func (k *Key) ID() format.KeyID {
	return format.KeyID(k.derive(nil, format.LabelKeyID).bytes)
}

// MessageCipher is the cipher of the packages that this data key seals under one salt. Its nonces are random:
// Seal yields nonce || ciphertext || tag, and Open takes that.
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

// Append appends the secret's bytes to dst, for a KMS to wrap. Whoever calls it clears them.
func (k *Key) Append(dst []byte) []byte { return append(dst, k.bytes[:]...) }

// Clear overwrites the secret.
func (k *Key) Clear() { clear(k.bytes[:]) }

func (k *Key) derive(salt []byte, label string) *Key {
	b, err := HKDF(k.bytes[:], salt, label, format.KeySize)
	if err != nil {
		panic(err) // 32 bytes from 32 bytes: HKDF refuses longer outputs and, in FIPS mode, shorter inputs
	}
	defer clear(b)
	return &Key{[format.KeySize]byte(b)}
}

// Format implements fmt.Formatter, so that no verb prints the bytes.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// MarshalText implements encoding.TextMarshaler for log handlers and encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Wrap encrypts another key under k: nonce || AES-256-GCM || tag, with the place b as additional data
// (shared/envelope/SPEC.md section 5).
func (k *Key) Wrap(key *Key, b envelope.Binding) ([]byte, error) {
	return k.SealBytes(key.bytes[:], b.Append(nil))
}

// Unwrap is the inverse of Wrap. It returns envelope.ErrAuthentication where wrapped was altered, was made
// under another key or for another place, or holds another key than b.ID says.
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

// SealBytes encrypts what a local KEK is given to wrap, under k's wrapping key: nonce || ciphertext || tag.
func (k *Key) SealBytes(plain, additionalData []byte) ([]byte, error) {
	aead, err := k.wrappingCipher()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, additionalData), nil
}

// OpenBytes is the inverse of SealBytes; every failure is envelope.ErrAuthentication.
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
