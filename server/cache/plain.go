package cache

import (
	"bytes"
	"crypto/rand"

	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// mark begins every value that was stored without encryption. No package begins like it (SPEC.md section
// 3.1), so that neither is ever taken for the other.
const mark = "coffer: NOT ENCRYPTED\n"

// ErrEncryption says that a value was stored unencrypted and is read by a cache that encrypts, or the other way round.
var ErrEncryption = &codes.Error{
	Of: "encryption_disabled", Text: "the value was stored with ENCRYPTION_ENABLED=false and this server encrypts, or the other way round",
}

// Unencrypted makes a cache that stores values in the clear, for local debugging: nothing is secret and
// nothing authenticated. What it wrote is ErrEncryption to every other cache, and what others wrote is to it.
func Unencrypted() Option { return func(c *Cache) { c.plain = true } }

// Marked reports whether a stored value was stored without encryption.
func Marked(stored []byte) bool { return bytes.HasPrefix(stored, []byte(mark)) }

// unmark gives the package of what is stored: of a marked value, what would be its package but for the nonce
// and the tag, which are random and zero, and the value in the clear between them.
func (c *Cache) unmark(stored []byte) ([]byte, error) {
	switch {
	case Marked(stored) != c.plain:
		return nil, ErrEncryption
	case c.plain:
		return stored[len(mark):], nil
	}
	return stored, nil
}

// appendPlain is the marked form of what a sealer would seal.
func appendPlain(dst []byte, req *seal.Request, value []byte) ([]byte, error) {
	if len(value) > format.MaxValue {
		return nil, format.ErrTooLarge
	}
	if err := req.Place.Check(); err != nil {
		return nil, err
	}
	h := format.Header{
		Algorithm: format.AES256GCM, Use: req.Use, Source: format.FromKeyset, Class: uint8(req.Class), Type: req.Type,
		EncryptedAt: req.EncryptedAt, Context: req.Context,
	}
	dst, err := h.Append(append(dst, mark...))
	if err != nil {
		return nil, err
	}
	var nonce [format.NonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails: package crypto/rand
	dst = append(dst, nonce[:]...)
	if req.MediaType != "" {
		if dst, err = format.AppendDetails(dst, &h, format.Details{MediaType: req.MediaType}); err != nil {
			return nil, err
		}
	}
	return append(append(dst, value...), make([]byte, format.TagSize)...), nil
}

// openPlain reads what appendPlain wrote.
func openPlain(pkg []byte, policy envelope.OpenPolicy) (o seal.Opened, err error) {
	p, err := format.Parse(pkg)
	if err != nil {
		return o, err
	}
	if err := classify.Class(p.Header.Class).CheckMin(policy.MinClass); err != nil {
		return o, err
	}
	o.Header = p.Header
	o.Details, o.Value, err = format.SplitPlaintext(&p.Header, p.Body[format.NonceSize:len(p.Body)-format.TagSize])
	return o, err
}
