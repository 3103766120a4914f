package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/format"
)

const hashSize = 16 // bytes of a hash in the log; long enough to make collisions of names improbable

// The labels for HKDF-SHA256 (RFC 5869), one for each purpose.
const (
	labelChain = "coffer/v1 audit chain"
	labelHead  = "coffer/v1 audit head"
	labelHash  = "coffer/v1 audit hash"
)

// Key authenticates the lines of a log and hashes record names and contexts. Without it, a process can neither write a
// log that verifies nor find out whether a given name is in the log, not even by trying the ids of all patients. It
// decrypts no data. It is safe for concurrent use, and fmt never prints it.
type Key struct {
	id      format.KeyID
	secret  *secret.Key
	hashers sync.Pool // contains *hasher
}

// NewKey returns the key of a log that is derived from a keyring's secret. It copies the secret. A program without a
// keyring calls [KeyFromBytes].
func NewKey(k *secret.Key) *Key {
	key := &Key{id: k.ID(), secret: new(*k)}
	key.hashers.New = func() any { return &hasher{mac: key.secret.MAC(labelHash)} }
	return key
}

// KeyFromBytes returns a key from 32 random bytes, which it copies. Keep them secret, and keep them as long as the log. It
// returns format.ErrInvalid for any other length.
func KeyFromBytes(key []byte) (*Key, error) {
	k, err := secret.FromBytes(key)
	if err != nil {
		return nil, fmt.Errorf("audit: a key has 32 bytes: %w", err)
	}
	defer k.Clear()
	return NewKey(k), nil
}

// Format implements fmt.Formatter: every verb prints a placeholder.
func (k *Key) Format(f fmt.State, verb rune) { k.secret.Format(f, verb) }

// HashName returns the hash by which a log names a record of a tenant, in hexadecimal digits: the nameHash of its
// lines.
func (k *Key) HashName(tenant, name string) string { return string(k.appendName(nil, tenant, name)) }

// appendName appends the result of HashName.
func (k *Key) appendName(dst []byte, tenant, name string) []byte {
	return k.appendHash(dst, "name", tenant, name)
}

// HashContext returns the hash by which a log names an entry of a record's context, in hexadecimal digits: one of the
// contextHashes of its lines.
func (k *Key) HashContext(tenant, key, value string) string {
	return string(k.appendHash(nil, "context", tenant, key, value))
}

// HashTenant returns the hash that stands for a tenant in metrics and in the server's log, in hexadecimal digits.
func (k *Key) HashTenant(tenant string) string { return string(k.appendHash(nil, "tenant", tenant)) }

// hasher is a keyed HMAC that is reused, because keying costs more than hashing a short text.
type hasher struct {
	mac    hash.Hash
	buffer []byte
}

// appendHash appends the truncated HMAC-SHA256 (RFC 2104) over the parts. Each part is preceded by its length, so that
// different parts never produce the same input.
func (k *Key) appendHash(dst []byte, parts ...string) []byte {
	h := k.hashers.Get().(*hasher)
	defer k.hashers.Put(h)
	h.mac.Reset()
	for _, part := range parts {
		h.buffer = binary.BigEndian.AppendUint64(h.buffer[:0], uint64(len(part)))
		h.buffer = append(h.buffer, part...)
		h.mac.Write(h.buffer)
	}
	h.buffer = h.mac.Sum(h.buffer[:0])
	return hex.AppendEncode(dst, h.buffer[:hashSize])
}

// headMAC returns the MAC of a head or of the list of chains.
func (k *Key) headMAC(body []byte) (m MAC) {
	mac := k.secret.MAC(labelHead)
	mac.Write(body)
	mac.Sum(m[:0])
	return m
}

// lineMAC computes the MACs of lines. One goroutine uses it.
type lineMAC struct {
	mac    hash.Hash
	buffer []byte // reused for results, to avoid an allocation
}

func (k *Key) newLineMAC() lineMAC {
	return lineMAC{k.secret.MAC(labelChain), make([]byte, 0, sha256.Size)}
}

// macOf returns the MAC of a line that follows a line with the MAC before. body is the authenticated part of the line.
func (c lineMAC) macOf(before MAC, body []byte) MAC {
	c.mac.Reset()
	c.mac.Write(append(c.buffer, before[:]...))
	c.mac.Write(body)
	return MAC(c.mac.Sum(c.buffer))
}

// isNext reports whether a line directly follows at in its chain.
func (c lineMAC) isNext(at Anchor, l chainedLine) bool {
	want := c.macOf(at.MAC, l.body)
	return l.Chain == at.Chain && l.Seq == at.Seq+1 && hmac.Equal(want[:], l.MAC[:])
}
