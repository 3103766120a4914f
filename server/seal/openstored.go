package seal

import (
	"context"
	"errors"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// ForeignKeyChecker is an optional interface of Keys.
type ForeignKeyChecker interface {
	// IsForeignKey reports whether a key that the owner does not have is known to belong to another owner. It returns
	// false if the owner of the key is unknown. It may be slow.
	IsForeignKey(id format.KeyID) bool
}

// OpenStored is Open for a package from the owner's own store. Only packages of the owner are ever written there, so
// OpenStored returns envelope.ErrAuthentication for anything else: bytes that are not a package, another version of the
// format, and a package with another use, key source or owner. The other errors are
//   - envelope.ErrUnknownKey, ErrKeyDestroyed or ErrKeyUnusable, unless the key is known to belong to another owner,
//   - classify.ErrTooLow for an authentic package whose class is below policy.MinClass,
//   - the errors of the keys and the error of ctx, which do not concern the package.
func (s *Sealer) OpenStored(ctx context.Context, dst, pkg []byte, place format.Place, policy envelope.OpenPolicy) (Opened, error) {
	o, err := s.Open(ctx, dst, pkg, place, policy)
	if errors.Is(err, classify.ErrTooLow) { // report it only if the package, and so its class, is authentic
		policy.MinClass = 0
		if o, open := s.Open(ctx, dst, pkg, place, policy); open == nil {
			clear(o.Value)
			return Opened{}, err
		} else {
			err = open
		}
	}
	if err != nil {
		return Opened{}, s.storedError(pkg, err)
	}
	return o, nil
}

// storedError is StoredError for the error of a package whose key may belong to another owner.
func (s *Sealer) storedError(pkg []byte, err error) error {
	if errors.Is(err, envelope.ErrUnknownKey) && s.hasForeignKey(pkg) {
		return envelope.ErrAuthentication
	}
	return StoredError(err)
}

// hasForeignKey reports whether a package was sealed under a key that its owner never had.
func (s *Sealer) hasForeignKey(pkg []byte) bool {
	h, _, err := format.ParseHeader(pkg)
	if err != nil || h.Source != format.FromKeyset {
		return true
	}
	k, ok := s.source.(keyset)
	if !ok {
		return false
	}
	checker, ok := k.keys.(ForeignKeyChecker)
	return ok && checker.IsForeignKey(h.KeyID)
}

// tamperingCodes are the codes of errors that cannot occur for a package that the owner wrote to its own store.
var tamperingCodes = map[string]bool{
	format.ErrMalformed.Code(): true, format.ErrUnsupportedVersion.Code(): true, format.ErrTooLarge.Code(): true, format.ErrInvalid.Code(): true,
	classify.ErrIterations.Code(): true, envelope.ErrWrongSecret.Code(): true,
}

// StoredError returns envelope.ErrAuthentication if err means that the owner's own store returned something that the
// owner did not write. Otherwise it returns err.
func StoredError(err error) error {
	if err != nil && tamperingCodes[codes.Of(err).Code] {
		return envelope.ErrAuthentication
	}
	return err
}

// ParseStored parses the header of a package from the owner's own store. It opens nothing, so nothing in the header is
// authentic. It returns envelope.ErrAuthentication if pkg is not a package of that use under a keyset.
func ParseStored(pkg []byte, use format.Use) (format.Header, error) {
	p, err := format.Parse(pkg)
	if err != nil || p.Header.Use != use || p.Header.Source != format.FromKeyset || p.Header.Algorithm == format.Chunked ||
		!classify.Class(p.Header.Class).Valid() {
		return format.Header{}, envelope.ErrAuthentication
	}
	return p.Header, nil
}
