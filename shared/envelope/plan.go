package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Index is a document's keys by id, with the primaries by use and class. It is immutable once made, so it may
// be shared.
type Index struct {
	keys      map[format.KeyID]KeyInfo
	primaries [maxUse + 1][classify.PHI + 1]format.KeyID
	shredded  bool
}

// NewIndex indexes a document whose roots are all open; see Document.Under.
func NewIndex(d *Document) *Index {
	x := &Index{keys: map[format.KeyID]KeyInfo{}, shredded: d.Shredded()}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			x.keys[k.ID] = KeyInfo{ID: k.ID, Use: s.Use, Class: s.Class, State: k.State}
		}
		x.primaries[s.Use][s.Class] = s.Primary()
	}
	return x
}

// Primary returns the key that seals for a use and class. It returns ErrKeyDestroyed if that was
// destroyed or the document was shredded, and ErrKeyUnusable if there is none or it must not seal.
func (x *Index) Primary(use format.Use, class classify.Class) (format.KeyID, error) {
	if x.shredded {
		return format.KeyID{}, ErrKeyDestroyed
	}
	if !validUse(use, class) {
		return format.KeyID{}, ErrKeyUnusable
	}
	k := x.keys[x.primaries[use][class]]
	switch k.State {
	case Enabled:
		return k.ID, nil
	case Destroyed:
		return format.KeyID{}, ErrKeyDestroyed
	}
	return format.KeyID{}, ErrKeyUnusable
}

// Demand is what a reader asks of a package beyond its integrity.
type Demand struct {
	Use   format.Use     // the use of the place it was read from
	Least classify.Class // the lowest class accepted; zero accepts all
}

// CheckOpen decides whether a package with header h may be opened with a keyset. It returns
// classify.ErrTooLow for a class lower than demanded, ErrUnknownKey, ErrKeyDestroyed or ErrKeyUnusable for
// its key, and ErrAuthentication where the header does not fit its key or its place, which no honest writer
// makes.
func (x *Index) CheckOpen(h *format.Header, want Demand) error {
	if err := classify.Class(h.Class).Demand(want.Least); err != nil {
		return err
	}
	if h.Use != want.Use {
		return ErrAuthentication
	}
	k, ok := x.keys[h.KeyID]
	if !ok && x.shredded && h.Source == format.FromKeyset {
		return ErrKeyDestroyed
	}
	if !ok || h.Source != format.FromKeyset {
		return ErrUnknownKey
	}
	if k.Use != h.Use || uint8(k.Class) != h.Class {
		return ErrAuthentication
	}
	return k.State.CanOpen()
}

// CheckSecret decides whether a package that needs no keyset may be opened with a secret whose key has the id
// got. It returns ErrWrongSecret where the commitment differs.
func CheckSecret(h *format.Header, got format.KeyID, want Demand) error {
	if err := classify.Class(h.Class).Demand(want.Least); err != nil {
		return err
	}
	if h.Use != want.Use {
		return ErrAuthentication
	}
	if h.KeyID != got {
		return ErrWrongSecret
	}
	return nil
}

// CheckDerivation decides whether to derive the key of a passphrase package at all, before any work is done. It returns
// classify.ErrIterations outside the format's bounds. Policy may demand more: classify.Class.CheckIterations.
func CheckDerivation(h *format.Header) error {
	if h.Source != format.FromPassphrase {
		return nil
	}
	if h.Iterations < format.MinIterations || h.Iterations > format.MaxIterations {
		return classify.ErrIterations
	}
	return nil
}

// Algorithm returns how a one-piece value of the class is sealed: public values are authenticated in the
// clear, unless their context must not be seen or they are deleted.
func Algorithm(class classify.Class, flags format.Flags) format.Algorithm {
	if class.Rules().Encrypt || flags != 0 {
		return format.AES256GCM
	}
	return format.Public
}
