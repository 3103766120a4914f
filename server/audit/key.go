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

const hashSize = 16 // bytes of a hash as it is written: enough that two names do not meet

// The labels of HKDF-SHA256 (RFC 5869), one for each purpose.
const (
	labelChain = "coffer/v1 audit chain"
	labelHead  = "coffer/v1 audit head"
	labelHash  = "coffer/v1 audit hash"
)

// Key chains the lines of a log and hashes names and contexts. A process without it can neither write a log that
// verifies, nor find out whether a given name is in the log, not even by trying all patients' ids. It opens no data.
// It is safe for concurrent use.
type Key struct {
	id      format.KeyID
	secret  *secret.Key
	hashers sync.Pool // of *hasher
}

// NewKey returns the key of a log whose secret is given. It keeps a copy.
func NewKey(k *secret.Key) *Key {
	key := &Key{id: k.ID(), secret: new(*k)}
	key.hashers.New = func() any { return &hasher{mac: key.secret.MAC(labelHash)} }
	return key
}

// Format hides the key from every verb of package fmt.
func (k *Key) Format(f fmt.State, verb rune) { k.secret.Format(f, verb) }

// HashName is what stands in the log for a record's name.
func (k *Key) HashName(tenant, name string) string { return string(k.appendName(nil, tenant, name)) }

// appendName appends HashName.
func (k *Key) appendName(dst []byte, tenant, name string) []byte {
	return k.appendHash(dst, "name", tenant, name)
}

// HashContext is what stands in the log for an entry of a context.
func (k *Key) HashContext(tenant, key, value string) string {
	return string(k.appendHash(nil, "context", tenant, key, value))
}

// HashTenant is what stands in metrics for a tenant.
func (k *Key) HashTenant(tenant string) string { return string(k.appendHash(nil, "tenant", tenant)) }

// hasher is an HMAC that was keyed, which costs more than a short text.
type hasher struct {
	mac    hash.Hash
	buffer []byte
}

// appendHash appends the HMAC-SHA256 (RFC 2104) over the parts, each behind its length, so that different parts never make one text.
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

// sealMAC authenticates the files beside the lines.
func (k *Key) sealMAC(body []byte) (m MAC) {
	mac := k.secret.MAC(labelHead)
	mac.Write(body)
	mac.Sum(m[:0])
	return m
}

// linker computes the MACs of lines. It is for one goroutine.
type linker struct {
	mac    hash.Hash
	buffer []byte // of a MAC, to avoid an allocation
}

func (k *Key) newLinker() linker {
	return linker{k.secret.MAC(labelChain), make([]byte, 0, sha256.Size)}
}

// link returns the MAC of a line whose signed part is body.
func (c linker) link(before MAC, body []byte) MAC {
	c.mac.Reset()
	c.mac.Write(append(c.buffer, before[:]...))
	c.mac.Write(body)
	return MAC(c.mac.Sum(c.buffer))
}

// follows reports whether a line is the one behind at.
func (c linker) follows(at Anchor, l link) bool {
	want := c.link(at.MAC, l.body)
	return l.Chain == at.Chain && l.Seq == at.Seq+1 && hmac.Equal(want[:], l.MAC[:])
}
