package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
)

// HKDF derives size bytes, at most 255 x 32, from a key by HKDF-SHA256 (RFC 5869), with extract and expand.
func HKDF(key, salt []byte, info string, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, key, salt, info, size)
}

// PBKDF2 derives size bytes from a password by PBKDF2-HMAC-SHA256 (RFC 8018 section 5.2).
func PBKDF2(password string, salt []byte, iterations, size int) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt, iterations, size)
}

// newCipher returns AES-256-GCM (NIST SP 800-38D) that draws random 96-bit nonces and writes them before the
// ciphertext. The FIPS 140-3 module permits only this form to encrypt in its strict mode.
func newCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
