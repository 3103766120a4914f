package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Index finds the keys of a document by id, and its primaries by use and class. It is immutable and safe for concurrent
// use.
type Index struct {
	keys      []indexedKey                             // ascending by id
	primaries [maxUse + 1][classify.PHI + 1]indexedKey // zero if there is no primary
	shredded  bool
}

// indexedKey holds the properties of a key that decide whether it seals or opens a package.
type indexedKey struct {
	id    format.KeyID
	use   format.Use
	class classify.Class
	state State
}

// NewIndex returns the index of a document. The caller must have opened all roots of the document, and verified it;
// otherwise use NewIndexUnder.
func NewIndex(d *Document) *Index { return NewIndexUnder(d, anyRoot) }

// NewIndexUnder returns NewIndex(d.OnlyUnder(opened)) without copying the document.
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
		if i, found := x.find(&s.effectivePrimary(opened).KeyID); found {
			x.primaries[s.Use][s.Class] = x.keys[i]
		}
	}
	return x
}

func (x *Index) add(k *indexedKey) {
	i, found := x.find(&k.id)
	if !found {
		x.keys = append(x.keys, indexedKey{})
		copy(x.keys[i+1:], x.keys[i:])
	}
	x.keys[i] = *k
}

// find is like search, without a function call for each step, because it runs for every package that is opened.
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

// Primary returns the id of the key that seals packages of a use and class (SPEC.md section 7). It returns
// ErrKeyDestroyed if the primary was destroyed or the document was shredded, and ErrKeyUnusable if the primary is
// missing or not enabled.
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

// CheckOpen returns nil if a package with header h may be opened with the document's keys under the policy (section 6.8
// of the package format). It returns classify.ErrTooLow for a class below the policy's minimum; ErrUnknownKey,
// ErrKeyDestroyed or ErrKeyUnusable because of the key; and ErrAuthentication if the use or class of the header is not
// that of the key or policy.
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

// CheckSecret returns nil if a package with header h, which was sealed under a passphrase or master key, may be opened
// with the key that has the id got. It returns classify.ErrTooLow for a class below the policy's minimum,
// ErrAuthentication for another use, and ErrWrongSecret for another key.
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

// CheckDerivation returns classify.ErrIterations if a package with header h needs a passphrase derivation whose
// iterations are outside the format's bounds. Call it before deriving the key. A reader's policy may require more
// iterations; see classify.Class.CheckIterations.
func CheckDerivation(h *format.Header) error {
	if h.Source != format.FromPassphrase {
		return nil
	}
	if h.Iterations < format.MinIterations || h.Iterations > format.MaxIterations {
		return classify.ErrIterations
	}
	return nil
}

// Algorithm returns the algorithm that seals a value of the class and flags that is not chunked. Public values without
// flags are authenticated but not encrypted.
func Algorithm(class classify.Class, flags format.Flags) format.Algorithm {
	if class.Rules().Encrypt || flags != 0 {
		return format.AES256GCM
	}
	return format.Public
}
