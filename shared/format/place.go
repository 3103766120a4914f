package format

import (
	"encoding/binary"
	"unicode/utf8"
)

// Place is where a package lives. It is authenticated but not stored in the package: a package that was moved
// does not open.
type Place struct {
	Owner      string // tenant or vault id
	Collection string // store, cache, table and column
	Name       string // the record's name, blinded where names are blinded
	Named      bool   // tells "no name" from the empty name
}

// Check returns ErrInvalid for text that is not UTF-8 or a name where Named is false, and ErrTooLarge beyond MaxOwner,
// MaxCollection or MaxName.
func (p *Place) Check() error {
	if len(p.Owner) > MaxOwner || len(p.Collection) > MaxCollection || len(p.Name) > MaxName {
		return ErrTooLarge
	}
	if !p.Named && p.Name != "" {
		return ErrInvalid
	}
	if !utf8.ValidString(p.Owner) || !utf8.ValidString(p.Collection) || !utf8.ValidString(p.Name) {
		return ErrInvalid
	}
	return nil
}

// AppendAdditionalData appends to dst what the body's tag authenticates besides the ciphertext: the encoded
// header and the place, each length-prefixed (SPEC.md section 5). The value of a Public package is to be
// appended to it. Chunked packages take it as their context.
func AppendAdditionalData(dst, header []byte, p Place) ([]byte, error) {
	if err := p.Check(); err != nil {
		return dst, err
	}
	if len(header) > HeaderSize+MaxContext {
		return dst, ErrTooLarge
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(header)))
	dst = append(dst, header...)
	dst = appendString16(dst, p.Owner)
	dst = appendString16(dst, p.Collection)
	if !p.Named {
		return append(dst, 0), nil
	}
	return appendString16(append(dst, 1), p.Name), nil
}
