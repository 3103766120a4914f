// Package seal encrypts values into packages, and decrypts and authenticates packages.
//
// A [Service] encrypts single values for a program that stores them itself. A [Sealer] works on packages in bytes,
// bound to the place where they are stored; package cache is built on it.
//
// Package seal guarantees that
//   - a value is returned complete and authentic, or an error is returned instead,
//   - a package opens only in the place for which it was sealed,
//   - input over a limit is refused before memory is allocated for it,
//   - errors contain no value, name or key.
//
// The rules (which key seals, which packages may be opened) are those of package envelope, which the browser shares.
package seal

import (
	"context"
	"crypto/cipher"
	"unicode/utf8"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Keys holds the data keys of one owner, such as keyring.Tenant or keyring.Vault. It must be safe for concurrent use.
// Every call of Seal and Open calls Primary or CheckOpen, so these must be fast when the keys are in memory.
//
// If the keys are not in memory, a method may unlock them, which may call a KMS. It then waits until ctx ends, and
// returns the error of ctx, such as context.DeadlineExceeded.
type Keys interface {
	// Owner returns the id of the tenant or vault.
	Owner() string
	// Primary returns the id of the key that seals for a use and class. It returns envelope.ErrKeyUnusable if no key
	// may.
	Primary(ctx context.Context, use format.Use, class classify.Class) (format.KeyID, error)
	// CheckOpen returns the error of envelope.Index.CheckOpen: nil if a package with header h may be opened. It must
	// not keep h.
	CheckOpen(ctx context.Context, h *format.Header, policy envelope.OpenPolicy) error
	// MessageCipher returns the cipher for the packages of a key under one salt (SPEC.md section 4). It returns
	// envelope.ErrUnknownKey if the owner has no such key.
	MessageCipher(ctx context.Context, id format.KeyID, salt format.Salt) (cipher.AEAD, error)
}

// Request describes a value to seal. Use, Class and Type have no default.
type Request struct {
	Use      format.Use
	Class    classify.Class
	Type     format.ValueType
	Flags    format.Flags
	Place    format.Place   // the place to store the package in
	Context  format.Context // in the header, or in the plaintext if Flags has SealedContext
	Name     string         // only with format.SealedName: the name itself; Place has the blinded one
	Revision uint64

	EncryptedAt int64 // milliseconds since 1970-01-01T00:00:00Z; 0 means now; set it when a value is encrypted again

	MediaType    string // only with format.Blob and format.File
	FileName     string // only with format.File
	LastModified int64  // only with format.File; milliseconds since 1970-01-01T00:00:00Z

	Element format.Element // only with format.View
}

// Opened is the content of an authentic package.
type Opened struct {
	Value   []byte
	Header  format.Header
	Details format.Details // media type, file name and date, element type, sealed context and name
}

// Context returns the context of the value, whether the package has it in the header or in the plaintext.
func (o *Opened) Context() format.Context {
	if o.Header.Flags&format.SealedContext != 0 {
		return o.Details.Context
	}
	return o.Header.Context
}

// check returns an error for a request that cannot be sealed. It allocates nothing.
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

// hasDetails reports whether the plaintext has details before the value, or the request sets a detail that its type
// does not have, which format.AppendDetails refuses.
func (r *Request) hasDetails() bool {
	return r.Type >= format.Blob || r.Flags != 0 || r.Name != "" || r.MediaType != "" || r.FileName != "" || r.LastModified != 0 || r.Element != 0
}

// details returns the fields that the package has inside its plaintext.
func (r *Request) details() format.Details {
	d := format.Details{Name: r.Name, MediaType: r.MediaType, FileName: r.FileName, LastModified: r.LastModified, Element: r.Element}
	if r.Flags&format.SealedContext != 0 {
		d.Context = r.Context
	}
	return d
}
