package keyring

import (
	"bytes"
	"context"
	"slices"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Merge joins a document into its owner's in the store, which it makes where there is none, by the rules of
// envelope.Restore: nothing that is there is lost, and what was destroyed in either stays so. It gives the
// document as it was, nil where there was none, and as it is. It returns ErrEnvironment for a document of
// another environment, and ErrUnreadable for one in the store that cannot be read, which it leaves.
func (r *Keyring) Merge(ctx context.Context, from *envelope.Document) (before, after *envelope.Document, err error) {
	if from.Environment != r.environment {
		return nil, nil, ErrEnvironment
	}
	for {
		before, old, err := r.read(ctx, from.Owner)
		if err != nil {
			return nil, nil, err
		}
		if after = from; before != nil {
			if after, err = envelope.Restore(before, from); err != nil {
				return nil, nil, err
			}
		}
		merged, err := after.Append(nil)
		if err != nil || bytes.Equal(old, merged) {
			return before, after, err
		}
		swapped, err := r.swap(ctx, after, old, merged)
		if err != nil {
			return nil, nil, err
		}
		if swapped {
			return before, after, r.tenant(from.Owner).reload(ctx)
		}
	}
}

// NewBackupKey draws the key of a backup, and wraps it by each KEK.
func NewBackupKey(ctx context.Context, keks kms.Set, environment string) (*secret.Key, []envelope.Slot, error) {
	key, d := secret.New(), (&envelope.Backup{Environment: environment}).Place()
	for _, kek := range keks.All() {
		slot, err := wrapRoot(ctx, kek, d, key)
		if err != nil {
			return nil, nil, err
		}
		d.Slots = append(d.Slots, slot)
	}
	slices.SortFunc(d.Slots, func(a, b envelope.Slot) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return key, d.Slots, nil
}

// BackupKey has the KEKs unwrap the key of a backup. The URLs in it are compared, never dialled. It returns
// kms.ErrWrongKey where no slot is theirs.
func BackupKey(ctx context.Context, keks kms.Set, b *envelope.Backup) (*secret.Key, error) {
	failed := error(kms.ErrWrongKey)
	for i := range b.Slots {
		one, err := unwrapSlot(ctx, keks, b.Place(), &b.Slots[i], new(health))
		if err == nil {
			return one.key, nil
		}
		if failed == error(kms.ErrWrongKey) {
			failed = err
		}
	}
	return nil, failed
}
