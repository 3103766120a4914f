package audit

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sync"
)

const (
	keySize  = 32
	hashSize = 16 // bytes of a hash as it is written: enough that two names do not meet
)

// Key chains the lines of a log and hashes names and contexts. A process without it can neither write a log that
// verifies, nor find out whether a given name is in the log, not even by trying all patients' ids. It opens no data.
type Key struct {
	chain, head, hash [keySize]byte
	hashers           *sync.Pool // of hasher, under hash
}

// newKey derives the keys of a secret by HKDF-SHA256 (RFC 5869), one for each purpose.
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
	k.hashers = &sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, k.hash[:])} }}
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

// hasher is an HMAC that was keyed, which costs more than a short text.
type hasher struct {
	mac    hash.Hash
	buffer []byte
}

// hashOf is HMAC-SHA256 (RFC 2104) over the parts, each behind its length, so that different parts never make one text.
func (k *Key) hashOf(parts ...string) string {
	h := k.hashers.Get().(*hasher)
	defer k.hashers.Put(h)
	h.mac.Reset()
	for _, part := range parts {
		h.buffer = binary.BigEndian.AppendUint64(h.buffer[:0], uint64(len(part)))
		h.buffer = append(h.buffer, part...)
		h.mac.Write(h.buffer)
	}
	h.buffer = h.mac.Sum(h.buffer[:0])
	return hex.EncodeToString(h.buffer[:hashSize])
}

const placeholder = "[secret]"

// Format hides the key from every verb of package fmt.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
