package keyring

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// WrapRoot adds a slot by which a KEK opens a root of the document, after the KEK unwrapped it again, and retires those by which the
// KEK opened the root before. The slot is newer than the root's others.
func (e *Edit) WrapRoot(ctx context.Context, root envelope.Root, kek kms.KEK) error {
	slot, err := wrapRoot(ctx, kek, e.Document, root, e.opened[root].key)
	if err != nil {
		return err
	}
	key, err := unwrapRoot(ctx, kek, e.Document, &slot)
	if err != nil {
		return fmt.Errorf("keyring: %s: the KEK does not unwrap what it wrapped: %w", e.ring.location(e.Owner), err)
	}
	key.Clear()
	for _, s := range e.Slots {
		if s.Root == root {
			slot.CreatedAt = min(max(slot.CreatedAt, s.CreatedAt+1), format.MaxTime)
		}
	}
	if err := e.AddSlot(slot); err != nil {
		return fmt.Errorf("keyring: %s: it has as many slots as a keyset may have: %w", e.ring.location(e.Owner), err)
	}
	_, err = e.RetireSlots(func(s envelope.Slot) bool { return s.Root == root && s.URL == slot.URL && s.ID != slot.ID })
	return err
}

// RetireSlots removes the slots that match, and returns their number. It returns envelope.ErrInvalid for the last slot of a root
// under which there are keys.
func (e *Edit) RetireSlots(former func(s envelope.Slot) bool) (retired int, err error) {
	for _, s := range slices.Clone(e.Slots) {
		if !former(s) {
			continue
		}
		if err := e.RetireSlot(s.ID); err != nil {
			return retired, err
		}
		retired++
	}
	return retired, nil
}

// Prove has the KEKs unwrap every root of a document, checks every record under these, and unwraps every key that is not destroyed.
// It returns how many roots and keys opened, ErrUnreadable with the reason if something does not, and the error of a KEK that did
// not answer. It leaves out shred records, since their key may be gone with the store.
func (r *Keyring) VerifyDocument(ctx context.Context, d *envelope.Document) (opened, keys int, err error) {
	known, err := r.unwrapRoots(ctx, d, nil)
	if err != nil && answered(err) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		return 0, 0, err
	}
	for _, one := range known {
		defer one.key.Clear()
	}
	for _, root := range d.Roots() {
		if known[root].key == nil {
			return len(known), 0, fmt.Errorf("%w: its root %x is not opened by the configured KEK, or was altered", ErrUnreadable, root.ID[:8])
		}
	}
	v, err := newVault(d, known)
	if err != nil {
		return len(known), 0, fmt.Errorf("%w: a slot, key or primary was altered: %w", ErrUnreadable, err)
	}
	for _, key := range v.keys {
		runtime.SetFinalizer(key, nil) // so that the keys of many documents do not wait for it
		key.Clear()
	}
	return len(known), len(v.keys), nil
}
