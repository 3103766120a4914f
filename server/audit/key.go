package audit

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

const (
	keySize  = 32
	hashSize = 16 // bytes of a hash as it is written: enough that two names do not meet
)

// Key chains the lines of a log and hashes what must not be read in it. Who has it can write a log that verifies, and can tell whether a given
// name is in the log; nobody else can, not even by trying all patients' ids. It is of no use for opening anything.
type Key struct{ chain, head, hash [keySize]byte }

// newKey derives the keys of a secret by HKDF-SHA256 (RFC 5869), so that none tells of another.
func newKey(secret []byte) (*Key, error) {
	k := &Key{}
	for info, key := range map[string]*[keySize]byte{
		"coffer/v1 audit chain": &k.chain, "coffer/v1 audit head": &k.head, "coffer/v1 audit hash": &k.hash,
	} {
		derived, err := hkdf.Key(sha256.New, secret, nil, info, keySize)
		if err != nil {
			return nil, fmt.Errorf("audit: derive the key: %w", err)
		}
		copy(key[:], derived)
	}
	return k, nil
}

// HashName is what stands in the log for a record's name.
func (k *Key) HashName(tenant, name string) string { return k.hashOf("name", tenant, name) }

// HashContext is what stands in the log for an entry of a context.
func (k *Key) HashContext(tenant, key, value string) string {
	return k.hashOf("context", tenant, key, value)
}

// HashTenant is what stands in metrics for a tenant.
func (k *Key) HashTenant(tenant string) string { return k.hashOf("tenant", tenant) }

// hashOf is HMAC-SHA256 (RFC 2104) over the parts, each behind its length, so that different parts never make one text.
func (k *Key) hashOf(parts ...string) string {
	mac := hmac.New(sha256.New, k.hash[:])
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		_, _ = io.WriteString(mac, part)
	}
	return hex.EncodeToString(mac.Sum(nil)[:hashSize])
}

const placeholder = "[secret]"

// Format hides the key from every verb of package fmt.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
