package seal

import (
	"crypto/cipher"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Open opens a package. The value is written behind dst, within its capacity where that suffices, and
// returned alone; dst must not overlap pkg, which is not changed. It returns
//   - format.ErrMalformed, format.ErrUnsupportedVersion or format.ErrTooLarge for bytes that are no package to open in one piece,
//   - classify.ErrTooLow for a class lower than wanted, classify.ErrIterations for a derivation out of bounds,
//   - envelope.ErrUnknownKey, ErrKeyDestroyed, ErrKeyUnusable or ErrWrongSecret for its key,
//   - envelope.ErrAuthentication where the package was altered, moved or forged.
func (s *Sealer) Open(dst, pkg []byte, place format.Place, policy envelope.OpenPolicy) (o Opened, err error) {
	b := getScratch()
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
	if err := s.source.check(h, policy); err != nil {
		return Opened{}, err
	}
	forgotten := s.forgotten.Load()
	c, kept, err := s.cipher(h)
	if err != nil {
		return Opened{}, err
	}
	if b.additional, err = format.AppendAdditionalData(b.room[:0], pkg[:n], place); err != nil {
		return Opened{}, err
	}
	plain, err := b.open(dst, c, pkg[n:])
	if err != nil {
		return Opened{}, err
	}
	if !kept {
		s.keep(messageOf(h), c, forgotten)
	}
	if o.Details, o.Value, err = format.SplitPlaintext(h, plain); err != nil {
		return Opened{}, err
	}
	o.Header = *h
	return o, nil
}

// cipher finds or derives the cipher of a package. It says whether the cipher was kept before: one that was
// derived is kept once it has opened something, so that forged packages cannot push out what is in use.
func (s *Sealer) cipher(h *format.Header) (c cipher.AEAD, kept bool, err error) {
	if w := s.slot(h.Use, classify.Class(h.Class)).Load(); w != nil && w.sealed(h) {
		return w.cipher, true, nil
	}
	if c, ok := s.ciphers.Get(messageOf(h)); ok {
		return c, true, nil
	}
	c, err = s.source.cipher(h)
	return c, false, err
}

// open carries out the plan: a public value stands in the clear behind its tag, and is authenticated with the
// additional data.
func (b *scratch) open(dst []byte, c cipher.AEAD, body []byte) ([]byte, error) {
	value := body[:0]
	if b.parsed.Algorithm == format.Public {
		body, value = body[:format.NonceSize+format.TagSize], body[format.NonceSize+format.TagSize:]
		b.additional = append(b.additional, value...)
	}
	plain, err := c.Open(dst, nil, body, b.additional)
	if err != nil {
		return nil, envelope.ErrAuthentication
	}
	return append(plain, value...)[len(dst):], nil
}
