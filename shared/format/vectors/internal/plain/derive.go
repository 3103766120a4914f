// Package plain is SPEC.md's cryptography spelled out with the standard library, one function a formula, for
// the vectors and their tests. Nonces and salts are given by the caller and nothing is cached, so it is never
// for production; what it shares with package seal is the page it was written from.
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

// KeyID is the commitment of a key (SPEC.md section 4.1).
func KeyID(key []byte) format.KeyID { return format.KeyID(derive(key, nil, format.LabelKeyID)) }

// MessageKey is the key of algorithms 1 and 2 (section 4.2).
func MessageKey(key []byte, salt format.Salt) []byte {
	return derive(key, salt[:], format.LabelMessageKey)
}

// FileKey is the input key of algorithm 3 (section 4.2).
func FileKey(key []byte, salt format.Salt) []byte { return derive(key, salt[:], format.LabelFileKey) }

// WrappingKey is the key that wraps other keys under key (shared/envelope/SPEC.md).
func WrappingKey(key []byte) []byte { return derive(key, nil, envelope.LabelWrappingKey) }

// BackupMAC is the MAC of a backup's content under its key (shared/envelope/SPEC.md section 9).
func BackupMAC(key, content []byte) []byte { return mac(key, envelope.LabelBackup, content) }

// RecordMAC is the MAC of a record of a keyset document under its root (shared/envelope/SPEC.md section 4).
func RecordMAC(root, message []byte) []byte { return mac(root, envelope.LabelRecordMAC, message) }

func mac(key []byte, label string, message []byte) []byte {
	h := hmac.New(sha256.New, derive(key, nil, label))
	h.Write(message)
	return h.Sum(nil)
}

// Roots are the roots of a document that are open.
type Roots map[envelope.Root][]byte

// Authenticator makes the MACs of a document's records under these roots, and of shred records under a key of shreds unless
// that is nil.
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

// FromMasterKey is the key of a random master key (section 4.3).
func FromMasterKey(master []byte) []byte { return derive(master, nil, format.LabelMasterKey) }

// FromPassphrase is the key of a passphrase (section 4.4).
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

// SessionKey is the master key of a session (section 4.7).
func SessionKey(id []byte, owner string) []byte {
	return derive(id, nil, sessionInfo("coffer/v1 session key", owner))
}

// SessionName is what the store calls a session (section 4.7).
func SessionName(id []byte, owner string) string {
	hash := sha256.Sum256(derive(id, nil, sessionInfo("coffer/v1 session name", owner)))
	return hex.EncodeToString(hash[:])
}

func sessionInfo(label, owner string) string {
	return string(append(binary.BigEndian.AppendUint16([]byte(label), uint16(len(owner))), owner...))
}
