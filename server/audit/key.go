package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/coffer-storage/coffer/server/durable"
)

const (
	keySize  = 32
	hashSize = 16 // bytes of a hash as it is written: enough that two names do not meet
)

// Key hashes what must not be read in the log. Who has it can tell whether a given name is in the log; nobody else can, not even by
// trying all patients' ids. It is of no use for opening anything.
type Key struct{ bytes [keySize]byte }

// OpenKey reads the key's file, and makes one of 32 random bytes, for its owner's eyes only, where there is none. Losing it loses no event, but
// names recorded before can no longer be looked for.
func OpenKey(path string) (*Key, error) {
	var k Key
	_, _ = rand.Read(k.bytes[:]) // never fails: package crypto/rand
	err := durable.Create(path, k.bytes[:])
	if err == nil {
		return &k, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("audit: make the key: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit: read the key: %w", err)
	}
	if len(content) != keySize {
		return nil, errors.New("audit: the key's file does not hold 32 bytes")
	}
	copy(k.bytes[:], content)
	return &k, nil
}

// HashName is what stands in the log for a record's name.
func (k *Key) HashName(tenant, name string) string { return k.hash("name", tenant, name) }

// HashContext is what stands in the log for an entry of a context.
func (k *Key) HashContext(tenant, key, value string) string {
	return k.hash("context", tenant, key, value)
}

// HashTenant is what stands in metrics for a tenant.
func (k *Key) HashTenant(tenant string) string { return k.hash("tenant", tenant) }

// hash is HMAC-SHA256 (RFC 2104) over the parts, each behind its length, so that different parts never make one text.
func (k *Key) hash(parts ...string) string {
	mac := hmac.New(sha256.New, k.bytes[:])
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
