// Package plain implements the cryptography of SPEC.md with the standard library, one function for each formula. The
// generator and the tests of the vectors use it. It shares no code with package seal, so that the two can be compared.
// The caller supplies nonces and salts and nothing is cached, so it is not fit for production.
package plain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"golang.org/x/text/unicode/norm"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// KeyID returns the key id of a key (SPEC.md section 4.1).
func KeyID(key []byte) format.KeyID { return format.KeyID(derive(key, nil, format.LabelKeyID)) }

// MessageKey returns the message key of algorithms 1 and 2 (section 4.2).
func MessageKey(key []byte, salt format.Salt) []byte {
	return derive(key, salt[:], format.LabelMessageKey)
}

// FileKey returns the input key of algorithm 3 (section 4.2).
func FileKey(key []byte, salt format.Salt) []byte { return derive(key, salt[:], format.LabelFileKey) }

// WrappingKey returns the key with which key wraps other keys (shared/envelope/SPEC.md section 5).
func WrappingKey(key []byte) []byte { return derive(key, nil, envelope.LabelWrappingKey) }

// BackupMAC returns the MAC of a backup's content under its key (shared/envelope/SPEC.md section 9).
func BackupMAC(key, content []byte) []byte { return mac(key, envelope.LabelBackup, content) }

// RecordMAC returns the MAC of a record of a keyset document under its root (shared/envelope/SPEC.md section 4).
func RecordMAC(root, message []byte) []byte { return mac(root, envelope.LabelRecordMAC, message) }

func mac(key []byte, label string, message []byte) []byte {
	h := hmac.New(sha256.New, derive(key, nil, label))
	h.Write(message)
	return h.Sum(nil)
}

// Roots maps the opened roots of a document to their keys.
type Roots map[envelope.Root][]byte

// Authenticator returns an authenticator that has the keys of these roots, and the key of shred records unless shredKey is
// nil.
func Authenticator(roots Roots, shreds []byte) envelope.Authenticator {
	return func(r *envelope.Record) (mac [envelope.MACSize]byte, ok bool) {
		key := roots[r.Root]
		if r.Shred {
			key = shreds
		}
		if key == nil {
			return mac, false
		}
		return [envelope.MACSize]byte(RecordMAC(key, r.Message)), true
	}
}

// FromMasterKey returns K of a random master key (section 4.3).
func FromMasterKey(master []byte) []byte { return derive(master, nil, format.LabelMasterKey) }

// FromPassphrase returns K of a passphrase (section 4.4).
func FromPassphrase(passphrase string, salt format.Salt, iterations uint32) []byte {
	key, err := pbkdf2.Key(sha256.New, norm.NFC.String(passphrase), salt[:], int(iterations), format.KeySize)
	if err != nil {
		panic(err)
	}
	return key
}

func derive(key, salt []byte, label string) []byte {
	out, err := hkdf.Key(sha256.New, key, salt, label, 32)
	if err != nil {
		panic(err)
	}
	return out
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// SessionKey returns the master key of a session (section 4.7).
func SessionKey(id []byte, owner string) []byte {
	return derive(id, nil, sessionInfo("coffer/v1 session key", owner))
}

// SessionName returns the name of a session in the store (section 4.7).
func SessionName(id []byte, owner string) string {
	hash := sha256.Sum256(derive(id, nil, sessionInfo("coffer/v1 session name", owner)))
	return hex.EncodeToString(hash[:])
}

func sessionInfo(label, owner string) string {
	return string(append(binary.BigEndian.AppendUint16([]byte(label), uint16(len(owner))), owner...))
}
