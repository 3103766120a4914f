package seal

import (
	"errors"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Strangers is an optional capability of Keys: it reports whether a key that the owner does not have is known to be another
// owner's. It may be slow, and may report false for a key of an unknown owner.
type Strangers interface {
	Elsewhere(id format.KeyID) bool
}

// OpenStored is Open for a package that the owner's own store returned. Honest writers leave whole packages of the owner there, so
// OpenStored returns envelope.ErrAuthentication for everything else: bytes that are not a package, another version of the format, and a
// package of another use, source or owner. The other errors are
//   - envelope.ErrUnknownKey, ErrKeyDestroyed or ErrKeyUnusable for a key of the owner, or one that no known owner has,
//   - classify.ErrTooLow for an authentic package whose class is lower than wanted,
//   - those of the keys, which do not concern the package.
func (s *Sealer) OpenStored(dst, pkg []byte, place format.Place, policy envelope.OpenPolicy) (Opened, error) {
	o, err := s.Open(dst, pkg, place, policy)
	if errors.Is(err, classify.ErrTooLow) { // the class is not authentic yet
		policy.MinClass = 0
		if o, open := s.Open(dst, pkg, place, policy); open == nil {
			clear(o.Value)
			return Opened{}, err
		} else {
			err = open
		}
	}
	if err != nil {
		return Opened{}, s.judge(pkg, err)
	}
	return o, nil
}

// judge returns ErrAuthentication if err says that pkg was not written by its owner.
func (s *Sealer) judge(pkg []byte, err error) error {
	if errors.Is(err, envelope.ErrUnknownKey) && s.stranger(pkg) {
		return envelope.ErrAuthentication
	}
	return Stored(err)
}

// stranger reports whether a package names a key that its owner never had.
func (s *Sealer) stranger(pkg []byte) bool {
	h, _, err := format.ParseHeader(pkg)
	if err != nil || h.Source != format.FromKeyset {
		return true
	}
	k, ok := s.source.(keyset)
	if !ok {
		return false
	}
	others, ok := k.keys.(Strangers)
	return ok && others.Elsewhere(h.KeyID)
}

// unsound are the codes of bytes that are no package, or none that its owner's keys made.
var unsound = map[string]bool{
	format.ErrMalformed.Code(): true, format.ErrUnsupportedVersion.Code(): true, format.ErrTooLarge.Code(): true, format.ErrInvalid.Code(): true,
	classify.ErrIterations.Code(): true, envelope.ErrWrongSecret.Code(): true,
}

// Stored returns envelope.ErrAuthentication in the place of an error that says that something in an owner's store is not what was
// written there. It returns every other error as it is.
func Stored(err error) error {
	if err != nil && unsound[codes.Of(err).Code] {
		return envelope.ErrAuthentication
	}
	return err
}

// ParseStored parses a package that the owner's own store returned, without opening it: nothing of it is authenticated. It returns
// envelope.ErrAuthentication if it cannot be a package of that use and under a keyset.
func ParseStored(pkg []byte, use format.Use) (format.Header, error) {
	p, err := format.Parse(pkg)
	if err != nil || p.Header.Use != use || p.Header.Source != format.FromKeyset || p.Header.Algorithm == format.Chunked ||
		!classify.Class(p.Header.Class).Valid() {
		return format.Header{}, envelope.ErrAuthentication
	}
	return p.Header, nil
}
