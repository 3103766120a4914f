package seal

import (
	"crypto/cipher"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Sealer seals and opens the packages of one owner. It keeps ciphers, so make one and share it. It is safe
// for concurrent use and costs one allocation a call, the result, if the given buffer is too small.
type Sealer struct {
	source  source
	writers [format.NumUses + 1][classify.PHI + 1]atomic.Pointer[writer]
	making  sync.Mutex
	ciphers *lru.Cache[message, cipher.AEAD]

	forgotten atomic.Uint64 // calls of forget
}

// NewSealer makes a sealer of an owner's keyset. If the keys are a Dropper, the sealer keeps nothing of keys
// that were dropped.
func NewSealer(keys Keys) *Sealer {
	s := newSealer(keyset{keys})
	if d, ok := keys.(Dropper); ok {
		s.follow(d)
	}
	return s
}

// keptCiphers bounds the message ciphers that a reader keeps, about 1 KiB each. A salt is one writer's for
// 2^24 packages, so this suffices for a thousand writers.
const keptCiphers = 1024

// message names a message key.
type message struct {
	key        format.KeyID
	salt       format.Salt
	iterations uint32
}

func messageOf(h *format.Header) message { return message{h.KeyID, h.Salt, h.Iterations} }

func newSealer(s source) *Sealer {
	return &Sealer{source: s, ciphers: newCache[message, cipher.AEAD](keptCiphers)}
}

// Owner is the tenant or vault whose keys these are; empty if the key is a single secret.
func (s *Sealer) Owner() string { return s.source.owner() }

// Seal appends the package of value to dst, which must not overlap it. It returns classify.ErrUnknown for no
// class, format.ErrInvalid or format.ErrTooLarge for what cannot be written, and envelope.ErrKeyUnusable
// where no key may seal.
func (s *Sealer) Seal(dst []byte, req Request, value []byte) ([]byte, error) {
	if err := req.check(value); err != nil {
		return nil, err
	}
	w, err := s.writer(req.Use, req.Class, len(value))
	if err != nil {
		return nil, err
	}
	b := getScratch()
	defer b.put()
	h := w.header
	h.Algorithm, h.Use, h.Class = envelope.Algorithm(req.Class, req.Flags), req.Use, uint8(req.Class)
	h.Type, h.Flags, h.Revision, h.EncryptedAt = req.Type, req.Flags, req.Revision, req.EncryptedAt
	if h.EncryptedAt == 0 {
		h.EncryptedAt = time.Now().UnixMilli()
	}
	if req.Flags&format.SealedContext == 0 {
		h.Context = req.Context
	}
	if err := b.plan(&h, &req); err != nil {
		return nil, err
	}
	plaintext := len(b.details) + len(value)
	if h.Flags&format.Padded != 0 {
		plaintext = format.PaddedSize(plaintext)
	}
	if size := len(b.header) + format.NonceSize + plaintext + format.TagSize; dst == nil {
		dst = make([]byte, 0, size) // cheaper than to grow nothing
	} else {
		dst = slices.Grow(dst, size)
	}
	dst = append(dst, b.header...)
	if h.Algorithm == format.Public {
		b.additional = append(append(b.additional, b.details...), value...)
		dst = w.cipher.Seal(dst, nil, nil, b.additional)
		return append(append(dst, b.details...), value...), nil
	}
	if plaintext > len(value) {
		n := len(b.details) + len(value)
		value = append(append(dst[len(dst):], b.details...), value...) // sealed where it lies
		if h.Flags&format.Padded != 0 {
			value = format.AppendPadding(value, n)
		}
	}
	return w.cipher.Seal(dst, nil, value, b.additional), nil
}
