package seal

import (
	"context"
	"crypto/cipher"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Open authenticates and decrypts a package. It writes the value after dst, in the capacity of dst if that suffices,
// and returns only the value. It does not change pkg, which dst must not overlap. It returns
//   - format.ErrMalformed, format.ErrUnsupportedVersion or format.ErrTooLarge if pkg is not a package in one piece,
//   - classify.ErrTooLow if the class is below policy.MinClass, and classify.ErrIterations if the iterations are out of
//     bounds,
//   - envelope.ErrUnknownKey, ErrKeyDestroyed, ErrKeyUnusable or ErrWrongSecret for its key,
//   - envelope.ErrAuthentication if the package was altered, moved or forged,
//   - the errors of the keys and the error of ctx, which do not concern the package.
func (s *Sealer) Open(ctx context.Context, dst, pkg []byte, place format.Place, policy envelope.OpenPolicy) (o Opened, err error) {
	b := getBuffers()
	defer b.put()
	h, n := &b.parsed, 0
	if *h, n, err = format.ParseHeader(pkg); err == nil {
		err = format.CheckBody(h, len(pkg)-n)
	}
	if err != nil {
		return Opened{}, err
	}
	if h.Algorithm == format.Chunked {
		return Opened{}, format.ErrUnsupportedVersion
	}
	if err := s.source.check(ctx, h, policy); err != nil {
		return Opened{}, err
	}
	drops := s.drops.Load()
	c, cached, err := s.cipher(ctx, h)
	if err != nil {
		return Opened{}, err
	}
	if b.additionalData, err = format.AppendAdditionalData(b.memory[:0], pkg[:n], place); err != nil {
		return Opened{}, err
	}
	plain, err := b.open(dst, c, pkg[n:])
	if err != nil {
		return Opened{}, err
	}
	if !cached {
		s.cacheCipher(messageIDOf(h), c, drops)
	}
	if o.Details, o.Value, err = format.SplitPlaintext(h, plain); err != nil {
		return Opened{}, err
	}
	o.Header = *h
	return o, nil
}

// cipher returns the cipher of a package, and whether it comes from the cache. The caller adds a derived cipher to the
// cache only after it has opened the package, so that forged packages do not evict ciphers in use.
func (s *Sealer) cipher(ctx context.Context, h *format.Header) (c cipher.AEAD, cached bool, err error) {
	if w := s.writerSlot(h.Use, classify.Class(h.Class)).Load(); w != nil && w.sealed(h) {
		return w.cipher, true, nil
	}
	if c, ok := s.ciphers.Get(messageIDOf(h)); ok {
		return c, true, nil
	}
	c, err = s.source.cipher(ctx, h)
	return c, false, err
}

// open decrypts a body. The body of a public package is the nonce, the tag and the value in the clear, which is
// authenticated as part of the additional data.
func (b *buffers) open(dst []byte, c cipher.AEAD, body []byte) ([]byte, error) {
	value := body[:0]
	if b.parsed.Algorithm == format.Public {
		body, value = body[:format.NonceSize+format.TagSize], body[format.NonceSize+format.TagSize:]
		b.additionalData = append(b.additionalData, value...)
	}
	plain, err := c.Open(dst, nil, body, b.additionalData)
	if err != nil {
		return nil, envelope.ErrAuthentication
	}
	return append(plain, value...)[len(dst):], nil
}
