// Package seal seals values into packages and opens them again. The cache, the fields, the files and the
// encryption service of the server share it.
//
// It carries out what shared/envelope decides, with the primitives of package secret. What it guarantees: a
// value comes back whole and authentic, or not at all; a package opens in its own place only; nothing is
// allocated for input over a limit; no error holds a value, a name or a key. Sealer works on packages in
// bytes and is meant for hot paths; Service is the few calls that most programs need.
package seal

import (
	"crypto/cipher"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Keys holds the data keys of one owner, such as keyring.Tenant or keyring.Vault. It must be safe for
// concurrent use, and its first three methods must be quick, since they are called for every package.
type Keys interface {
	// Owner is the id of the tenant or vault, for the places of its packages.
	Owner() string
	// Primary names the key that seals for a use and class; envelope.ErrKeyUnusable where there is none.
	Primary(use format.Use, class classify.Class) (format.KeyID, error)
	// CheckOpen decides as envelope.Index.CheckOpen does whether a package with header h may be opened. It
	// must not keep h.
	CheckOpen(h *format.Header, policy envelope.OpenPolicy) error
	// MessageCipher is the cipher of a key's packages under one salt, as secret.Key makes it;
	// envelope.ErrUnknownKey where there is no such key.
	MessageCipher(id format.KeyID, salt format.Salt) (cipher.AEAD, error)
}

// Request says how a value is to be sealed. The zero Class and the zero Type are refused: every write states both.
type Request struct {
	Use      format.Use
	Class    classify.Class
	Type     format.ValueType
	Flags    format.Flags
	Place    format.Place   // where the package will live
	Context  format.Context // in the header, or in the plaintext if Flags has SealedContext
	Name     string         // only under format.SealedName: the name itself, Place having the blinded one
	Revision uint64

	EncryptedAt int64 // milliseconds since 1970, of a value that is sealed anew under another key; 0 is now

	MediaType    string // only of format.Blob and format.File
	FileName     string // only of format.File
	LastModified int64  // only of format.File, milliseconds since 1970

	Element format.Element // only of format.View
}

// Opened is an authentic package's content.
type Opened struct {
	Value   []byte
	Header  format.Header
	Details format.Details // media type, file name and date, element type, sealed context and name
}

// Context is the value's context, wherever the package carried it.
func (o *Opened) Context() format.Context {
	if o.Header.Flags&format.SealedContext != 0 {
		return o.Details.Context
	}
	return o.Header.Context
}

// check refuses what no package can hold before anything is allocated for it.
func (r *Request) check(value []byte) error {
	switch {
	case !r.Class.Valid():
		return classify.ErrUnknown
	case r.Use < format.UseStorage || r.Use > format.NumUses:
		return format.ErrInvalid
	case len(value) > format.MaxValue:
		return format.ErrTooLarge
	case r.Flags&format.Tombstone != 0 && len(value) > 0:
		return format.ErrInvalid
	case r.Flags&format.SealedName != 0 && !r.Place.Named:
		return format.ErrInvalid
	case r.Type == format.View && (!r.Element.Valid() || len(value)%r.Element.Size() != 0):
		return format.ErrInvalid
	case (r.Type == format.Text || r.Type == format.JSON) && !utf8.Valid(value):
		return format.ErrInvalid
	}
	return nil
}

// describes reports whether anything is said of the value inside the plaintext, or wrongly asked to be.
func (r *Request) describes() bool {
	return r.Type >= format.Blob || r.Flags != 0 || r.Name != "" || r.MediaType != "" || r.FileName != "" || r.LastModified != 0 || r.Element != 0
}

// details splits off what the package carries inside its plaintext.
func (r *Request) details() format.Details {
	d := format.Details{Name: r.Name, MediaType: r.MediaType, FileName: r.FileName, LastModified: r.LastModified, Element: r.Element}
	if r.Flags&format.SealedContext != 0 {
		d.Context = r.Context
	}
	return d
}
