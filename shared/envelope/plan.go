package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Index is a document's keys by id, with the primaries by use and class. It is immutable once made, so it may
// be shared.
type Index struct {
	keys      []indexedKey                             // ascending by id
	primaries [maxUse + 1][classify.PHI + 1]indexedKey // zero if there is none
	shredded  bool
}

// indexed is what must be known of a key to decide on its use.
type indexedKey struct {
	id    format.KeyID
	use   format.Use
	class classify.Class
	state State
}

// NewIndex indexes a document whose roots are all open; see Document.Under.
func NewIndex(d *Document) *Index { return NewIndexUnder(d, anyRoot) }

// IndexUnder returns NewIndex(d.Under(opened)), without a copy of the document.
func NewIndexUnder(d *Document, opened func(Root) bool) *Index {
	x := &Index{shredded: len(d.Shreds) > 0}
	for i := range d.Slots {
		x.shredded = x.shredded && !opened(d.Slots[i].Root)
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for j := range s.Keys {
			if k := &s.Keys[j]; opened(k.Root) {
				x.shredded = false
				x.add(&indexedKey{k.ID, s.Use, s.Class, k.State})
			}
		}
		if i, there := x.find(&s.effectivePrimary(opened).KeyID); there {
			x.primaries[s.Use][s.Class] = x.keys[i]
		}
	}
	return x
}

func (x *Index) add(k *indexedKey) {
	i, there := x.find(&k.id)
	if !there {
		x.keys = append(x.keys, indexedKey{})
		copy(x.keys[i+1:], x.keys[i:])
	}
	x.keys[i] = *k
}

// find is search without a call for each step: every package that is opened takes it.
func (x *Index) find(id *format.KeyID) (int, bool) {
	low, high := 0, len(x.keys)
	for low < high {
		if mid := (low + high) / 2; string(x.keys[mid].id[:]) < string(id[:]) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(x.keys) && x.keys[low].id == *id
}

// Primary returns the key that seals for a use and class. It returns ErrKeyDestroyed if that was
// destroyed or the document was shredded, and ErrKeyUnusable if there is none or it must not seal.
func (x *Index) Primary(use format.Use, class classify.Class) (id format.KeyID, err error) {
	if x.shredded {
		return id, ErrKeyDestroyed
	}
	if !validUse(use, class) {
		return id, ErrKeyUnusable
	}
	switch k := &x.primaries[use][class]; k.state {
	case Enabled:
		return k.id, nil
	case Destroyed:
		return id, ErrKeyDestroyed
	}
	return id, ErrKeyUnusable
}

// OpenPolicy states which authentic packages a reader accepts. It is compared with the header before a package is opened.
type OpenPolicy struct {
	Use      format.Use     // the use of the place that the package was read from
	MinClass classify.Class // the lowest class to accept; 0 accepts every class
}

// CheckOpen decides whether a package with header h may be opened with a keyset. It returns
// classify.ErrTooLow for a class lower than demanded, ErrUnknownKey, ErrKeyDestroyed or ErrKeyUnusable for
// its key, and ErrAuthentication where the header does not fit its key or its place, which no honest writer
// makes.
func (x *Index) CheckOpen(h *format.Header, policy OpenPolicy) error {
	if err := classify.Class(h.Class).CheckMin(policy.MinClass); err != nil {
		return err
	}
	if h.Use != policy.Use {
		return ErrAuthentication
	}
	i, ok := x.find(&h.KeyID)
	if !ok && x.shredded && h.Source == format.FromKeyset {
		return ErrKeyDestroyed
	}
	if !ok || h.Source != format.FromKeyset {
		return ErrUnknownKey
	}
	k := &x.keys[i]
	if k.use != h.Use || uint8(k.class) != h.Class {
		return ErrAuthentication
	}
	return k.state.CanOpen()
}

// CheckSecret decides whether a package that needs no keyset may be opened with a secret whose key has the id
// got. It returns ErrWrongSecret where the commitment differs.
func CheckSecret(h *format.Header, got format.KeyID, policy OpenPolicy) error {
	if err := classify.Class(h.Class).CheckMin(policy.MinClass); err != nil {
		return err
	}
	if h.Use != policy.Use {
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
