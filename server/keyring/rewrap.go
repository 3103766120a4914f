package keyring

import (
	"context"
	"fmt"
	"slices"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// WrapRoot adds a slot by which a KEK opens a root of the document, and removes the KEK's former slots of the root.
// The KEK first unwraps what it wrapped. The new slot becomes the newest of the root.
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

// RetireSlots removes the slots that match, and returns their number. It returns envelope.ErrInvalid for the last
// slot of a root that wraps keys.
func (e *Edit) RetireSlots(match func(s envelope.Slot) bool) (retired int, err error) {
	for _, s := range slices.Clone(e.Slots) {
		if !match(s) {
			continue
		}
		if err := e.RetireSlot(s.ID); err != nil {
			return retired, err
		}
		retired++
	}
	return retired, nil
}
