package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Rewrap has each root of a tenant wrapped by the KEK of another set that stands where its own does in this
// one. Roots, keys and data stay as they are, and so do the former slots, until RetireSlots. A root that the
// other set unwraps by a slot made at begun or later is left, so that a run that was broken off can go on;
// the zero time takes any slot. It returns the number of roots that it wrapped.
func (r *Keyring) Rewrap(ctx context.Context, tenant string, to kms.Set, begun time.Time) (wrapped int, err error) {
	d, err := r.OwnerDocument(ctx, tenant)
	if err != nil || d.Shredded() {
		return 0, err
	}
	proof, err := Prove(ctx, d, to, begun)
	if err != nil || len(proof.Missing) == 0 {
		return 0, err
	}
	err = r.Edit(ctx, tenant, func(e *Edit) error {
		wrapped = 0
		for _, root := range e.Roots() {
			if proof.opens(e.Document, root) {
				continue
			}
			if err := e.WrapRoot(ctx, root, r.counterpart(e.KEK(root), to), begun); err != nil {
				return err
			}
			wrapped++
		}
		return nil
	})
	return wrapped, err
}

// counterpart gives the KEK of another set for the classes that a KEK of this one is for.
func (r *Keyring) counterpart(kek kms.KEK, to kms.Set) kms.KEK {
	for _, class := range classify.All {
		if r.keks.For(class) == kek {
			return to.For(class)
		}
	}
	return to.All()[0]
}

// RetireSlots removes those slots of a tenant's proven roots that are not the proof's. It returns ErrInUse,
// and changes nothing, if there is a root that is not proven. It returns the number that it removed.
func (r *Keyring) RetireSlots(ctx context.Context, tenant string, proof Proof) (retired int, err error) {
	d, err := r.OwnerDocument(ctx, tenant)
	if err != nil {
		return 0, err
	}
	if !slices.ContainsFunc(d.Slots, proof.retires) { // an earlier run did it, and the former KEKs open nothing any more
		return 0, nil
	}
	err = r.Edit(ctx, tenant, func(e *Edit) error {
		retired = 0
		for _, root := range e.Roots() {
			if !proof.opens(e.Document, root) {
				return fmt.Errorf("keyring: %s: only the former KEK opens one of its roots: %w", r.where(tenant), ErrInUse)
			}
		}
		for _, s := range slices.Clone(e.Slots) {
			if !proof.retires(s) {
				continue
			}
			if err := e.RetireSlot(s.ID); err != nil {
				return err
			}
			retired++
		}
		return nil
	})
	if errors.Is(err, envelope.ErrKeyDestroyed) {
		return 0, nil // a shredded tenant has no slots
	}
	return retired, err
}

// retires reports whether a slot is to be removed.
func (p *Proof) retires(s envelope.Slot) bool { return s.Kind == envelope.SlotKMS && !p.Slots[s.ID] }

// Proof is what KEKs were seen to open of a document.
type Proof struct {
	Slots   map[[16]byte]bool // by which they unwrapped a root
	Roots   int               // that they unwrapped
	Keys    int               // that unwrapped under these
	Missing []format.KeyID    // roots that they did not unwrap
	Damaged []format.KeyID    // keys that did not unwrap under their root
	Altered bool              // a record that is under one of the roots has a wrong MAC
}

// Whole reports whether everything that is not destroyed opened.
func (p *Proof) Whole() bool { return len(p.Missing) == 0 && len(p.Damaged) == 0 && !p.Altered }

// opens reports whether a slot of the proof is one of the root's, still.
func (p *Proof) opens(d *envelope.Document, root envelope.Root) bool {
	for i := range d.Slots {
		if s := &d.Slots[i]; s.Root == root && p.Slots[s.ID] {
			return true
		}
	}
	return false
}

// Prove has KEKs unwrap every root of a document, by slots that were made at a time or later, and every key
// under these. What does not open is in the proof; an error is a KEK's that did not answer.
func Prove(ctx context.Context, d *envelope.Document, keks kms.Set, since time.Time) (Proof, error) {
	p, opened := Proof{Slots: map[[16]byte]bool{}}, roots{}
	for _, root := range d.Roots() {
		if err := p.prove(ctx, d, root, keks, since, opened); err != nil {
			return p, err
		}
	}
	for _, one := range opened {
		defer one.key.Clear()
	}
	p.Roots = len(opened)
	if err := d.Verify(authenticator(opened, nil)); err != nil {
		p.Altered = true
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			root, ok := opened[k.Root]
			if !ok || k.State == envelope.Destroyed {
				continue
			}
			key, err := root.key.Unwrap(k.Wrapped, d.BindKey(s.Use, uint8(s.Class), k.ID))
			if err != nil {
				p.Damaged = append(p.Damaged, k.ID)
				continue
			}
			key.Clear()
			p.Keys++
		}
	}
	return p, nil
}

// prove tries the slots of one root.
func (p *Proof) prove(ctx context.Context, d *envelope.Document, name envelope.Root, keks kms.Set, since time.Time, opened roots) error {
	for i := range d.Slots {
		s := &d.Slots[i]
		if s.Root != name || s.Kind != envelope.SlotKMS || !since.IsZero() && s.CreatedAt < since.UnixMilli() {
			continue
		}
		one, err := unwrapSlot(ctx, keks, d, s, new(health))
		if err == nil {
			opened[name], p.Slots[s.ID] = one, true
			return nil
		}
		if !answered(err) {
			return err
		}
	}
	p.Missing = append(p.Missing, name.ID)
	return nil
}
