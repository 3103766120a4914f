package format

import (
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/wire"
)

// Place is where a package is stored. It is authenticated but not part of the package, so a package that was moved to
// another place does not open (SPEC.md section 5).
type Place struct {
	Owner      string // tenant or vault id
	Collection string // store or cache, or the table and column of a field (see FieldCollection)
	Name       string // the record's name; with flag SealedName, the blinded name
	Named      bool   // whether there is a name, which may be empty
}

// Check returns ErrInvalid if a text is not UTF-8 or if there is a Name but Named is false, and ErrTooLarge if a text
// exceeds MaxOwner, MaxCollection or MaxName.
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

// AppendAdditionalData appends to dst the additional data of a body (SPEC.md section 5): the encoded header, then
// the owner, collection and name of the place, each after its length. A writer of a Public package appends the plaintext
// to it; for a Chunked body it is the context of C2SP chunked-encryption. It returns the errors of Place.Check, and
// ErrTooLarge if header is longer than a header can be.
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

// FieldCollection returns the collection of a database field: the table, U+0000 and the column (SPEC.md section 5). It
// returns ErrInvalid if a name is empty, is not UTF-8 or contains U+0000, and ErrTooLarge if the collection exceeds
// MaxCollection. So no two fields share a collection.
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
