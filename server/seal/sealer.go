package seal

import (
	"context"
	"crypto/cipher"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Sealer seals and opens the packages of one owner. It is safe for concurrent use. It caches ciphers, so a program
// makes one for each owner and reuses it. A call allocates only its result, and nothing if the capacity of the given
// buffer suffices.
//
// A call that seals or opens waits if the keys must be unlocked, which may call a KMS. If ctx ends first, the call
// returns the error of ctx, such as context.DeadlineExceeded. While the keys are in memory, a call need not observe
// ctx.
type Sealer struct {
	source  keySource
	writers [format.NumUses + 1][classify.PHI + 1]atomic.Pointer[writer]
	making  *semaphore.Weighted // of 1, acquired while a writer is made; unlike a sync.Mutex, it observes a context
	ciphers *lru.Cache[messageID, cipher.AEAD]

	drops atomic.Uint64 // calls of dropCiphers
}

// NewSealer returns a sealer with the keys of an owner. If keys is a DropNotifier, the sealer drops its ciphers
// whenever the keys are dropped.
func NewSealer(keys Keys) *Sealer {
	s := newSealer(keyset{keys})
	if d, ok := keys.(DropNotifier); ok {
		s.dropWith(d)
	}
	return s
}

// maxCiphers is the number of ciphers that a sealer caches, about 1 KiB each. One writer uses a salt for up to 2^24
// packages, so this suffices for the packages of a thousand writers.
const maxCiphers = 1024

// messageID identifies a message key.
type messageID struct {
	key        format.KeyID
	salt       format.Salt
	iterations uint32
}

func messageIDOf(h *format.Header) messageID { return messageID{h.KeyID, h.Salt, h.Iterations} }

func newSealer(s keySource) *Sealer {
	return &Sealer{source: s, making: semaphore.NewWeighted(1), ciphers: newLRU[messageID, cipher.AEAD](maxCiphers)}
}

// Owner returns the id of the tenant or vault. It is empty for a single secret.
func (s *Sealer) Owner() string { return s.source.owner() }

// Seal encrypts value and appends the package to dst, which must not overlap value. It returns classify.ErrUnknown for
// an invalid class, format.ErrInvalid or format.ErrTooLarge for a request that the format does not allow,
// envelope.ErrKeyUnusable or ErrKeyDestroyed if no key may seal, the errors of the keys, and the error of ctx.
func (s *Sealer) Seal(ctx context.Context, dst []byte, req Request, value []byte) ([]byte, error) {
	var h format.Header
	return s.seal(ctx, dst, &h, &req, value)
}

// SealWithHeader is Seal, and also returns the header of the new package, which has h.Size bytes.
func (s *Sealer) SealWithHeader(ctx context.Context, dst []byte, req Request, value []byte) (pkg []byte, h format.Header, err error) {
	pkg, err = s.seal(ctx, dst, &h, &req, value)
	return pkg, h, err
}

// seal appends the package of value to dst and sets h to its header.
func (s *Sealer) seal(ctx context.Context, dst []byte, h *format.Header, req *Request, value []byte) ([]byte, error) {
	if err := req.check(value); err != nil {
		return nil, err
	}
	w, err := s.writer(ctx, req.Use, req.Class, len(value))
	if err != nil {
		return nil, err
	}
	b := getBuffers()
	defer b.put()
	*h = w.header
	h.Algorithm, h.Use, h.Class = envelope.Algorithm(req.Class, req.Flags), req.Use, uint8(req.Class)
	h.Type, h.Flags, h.Revision, h.EncryptedAt = req.Type, req.Flags, req.Revision, req.EncryptedAt
	if h.EncryptedAt == 0 {
		h.EncryptedAt = time.Now().UnixMilli()
	}
	if req.Flags&format.SealedContext == 0 {
		h.Context = req.Context
	}
	if err := b.encode(h, req); err != nil {
		return nil, err
	}
	plaintext := len(b.details) + len(value)
	if h.Flags&format.Padded != 0 {
		plaintext = format.PaddedSize(plaintext)
	}
	if size := len(b.header) + format.NonceSize + plaintext + format.TagSize; dst == nil {
		dst = make([]byte, 0, size) // faster than slices.Grow of a nil slice
	} else {
		dst = slices.Grow(dst, size)
	}
	dst = append(dst, b.header...)
	if h.Algorithm == format.Public {
		b.additionalData = append(append(b.additionalData, b.details...), value...)
		dst = w.cipher.Seal(dst, nil, nil, b.additionalData)
		return append(append(dst, b.details...), value...), nil
	}
	if plaintext > len(value) {
		n := len(b.details) + len(value)
		value = append(append(dst[len(dst):], b.details...), value...) // encrypted in place
		if h.Flags&format.Padded != 0 {
			value = format.AppendPadding(value, n)
		}
	}
	return w.cipher.Seal(dst, nil, value, b.additionalData), nil
}
