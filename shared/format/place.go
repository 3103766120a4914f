package format

import (
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/wire"
)

// Place is where a package lives. It is authenticated but not stored in the package: a package that was moved
// does not open.
type Place struct {
	Owner      string // tenant or vault id
	Collection string // store, cache, or table and column (FieldCollection)
	Name       string // the record's name; the blinded one under SealedName
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
	dst = wire.AppendBytes(wire.AppendUint(dst, uint64(len(header)), 2), header)
	dst = wire.AppendText(dst, p.Owner)
	dst = wire.AppendText(dst, p.Collection)
	if !p.Named {
		return append(dst, 0), nil
	}
	return wire.AppendText(append(dst, 1), p.Name), nil
}

// FieldCollection returns the collection of a database field: table, U+0000 and column. The separator is unambiguous
// because no identifier of a database holds it. It returns ErrInvalid for a name that is empty, is not UTF-8 or contains
// U+0000, and ErrTooLarge over MaxCollection.
func FieldCollection(table, column string) (string, error) {
	for _, name := range [...]string{table, column} {
		if name == "" || !utf8.ValidString(name) {
			return "", ErrInvalid
		}
		for i := range len(name) {
			if name[i] == 0 {
				return "", ErrInvalid
			}
		}
	}
	if len(table)+1+len(column) > MaxCollection {
		return "", ErrTooLarge
	}
	return table + "\x00" + column, nil
}
