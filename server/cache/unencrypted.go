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

// mark is the beginning of every value that is stored without encryption. No package begins with it (SPEC.md section
// 3.1).
const mark = "coffer: NOT ENCRYPTED\n"

// ErrEncryption means that a value was stored without encryption and is read by a cache that encrypts, or the other way
// round.
var ErrEncryption = &codes.Error{
	ErrorCode: "encryption_disabled", Message: "the value was stored with ENCRYPTION_ENABLED=false and this server encrypts, or the other way round",
}

// Unencrypted makes the cache store values without encryption and authentication, for local debugging. Other caches
// return ErrEncryption for its entries, and it returns ErrEncryption for theirs.
func Unencrypted() Option { return func(c *Cache) { c.plain = true } }

// IsUnencrypted reports whether a value in the store was stored without encryption.
func IsUnencrypted(stored []byte) bool { return bytes.HasPrefix(stored, []byte(mark)) }

// unmark returns the package in a stored value. In an unencrypted value it has the form of a package, with a random
// nonce, the value in the clear and a zero tag.
func (c *Cache) unmark(stored []byte) ([]byte, error) {
	switch {
	case IsUnencrypted(stored) != c.plain:
		return nil, ErrEncryption
	case c.plain:
		return stored[len(mark):], nil
	}
	return stored, nil
}

// appendPlain appends the unencrypted form of a value, and returns its header.
func appendPlain(dst []byte, req *seal.Request, value []byte) (stored []byte, h format.Header, err error) {
	if len(value) > format.MaxValue {
		return nil, h, format.ErrTooLarge
	}
	if err := req.Place.Check(); err != nil {
		return nil, h, err
	}
	h = format.Header{
		Algorithm: format.AES256GCM, Use: req.Use, Source: format.FromKeyset, Class: uint8(req.Class), Type: req.Type,
		EncryptedAt: req.EncryptedAt, Context: req.Context,
	}
	if dst, err = h.Append(append(dst, mark...)); err != nil {
		return nil, h, err
	}
	var nonce [format.NonceSize]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand never returns an error
	dst = append(dst, nonce[:]...)
	if req.MediaType != "" {
		if dst, err = format.AppendDetails(dst, &h, format.Details{MediaType: req.MediaType}); err != nil {
			return nil, h, err
		}
	}
	return append(append(dst, value...), make([]byte, format.TagSize)...), h, nil
}

// openPlain reads the unencrypted form of a value, without the mark.
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
