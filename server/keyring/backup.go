package keyring

import (
	"bytes"
	"context"

	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/seal/secret"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Ends is what ended since a copy of a tenant's document was made. The zero Ends is nothing.
type Ends struct {
	// Lines are the lines that were shredded, whether the copy has them or not.
	Lines [][envelope.LineSize]byte
	// Edit changes the copy, such as by destroying keys; nil changes nothing.
	Edit func(copied *envelope.Document)
}

// Merge joins a copy of a document into its owner's in the store, and makes that if there is none, after what has
// ended since. Nothing that is there is lost, and what was destroyed or shredded in either stays so. The records of
// both sides are verified first, so the KEKs must open their roots. It returns the document as it was, nil if there was
// none, and as it is. It returns ErrEnvironment for a document of
// another environment, and ErrUnreadable for a document that cannot be read or was altered; the store keeps it.
func (r *Keyring) Merge(ctx context.Context, copied *envelope.Document, ends Ends) (before, after *envelope.Document, err error) {
	if copied.Environment != r.environment {
		return nil, nil, ErrEnvironment
	}
	opened, err := r.openAll(ctx, copied, roots{})
	if err != nil {
		return nil, nil, err
	}
	if copied, err = r.end(ctx, copied, ends, opened); err != nil {
		return nil, nil, err
	}
	for {
		before, old, err := r.read(ctx, copied.Owner)
		if err != nil {
			return nil, nil, err
		}
		if after = copied; before != nil {
			if opened, err = r.openAll(ctx, before, opened); err != nil {
				return nil, nil, err
			}
			if before.Shredded() { // as a whole, so what the copy has of a life before stays gone too
				if copied, err = r.end(ctx, copied, Ends{Lines: copied.Lines()}, opened); err != nil {
					return nil, nil, err
				}
			}
			if after, err = r.merge(ctx, before, copied, opened); err != nil {
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
			return before, after, r.tenant(copied.Owner).reload(ctx, nil)
		}
	}
}

// end applies what has ended to a verified document, and signs what that changes.
func (r *Keyring) end(ctx context.Context, d *envelope.Document, ends Ends, opened roots) (*envelope.Document, error) {
	if ends.Edit != nil {
		ends.Edit(d)
	}
	var shreds []*secret.Key
	if len(ends.Lines) > 0 {
		key, err := r.shredKey(ctx)
		if err != nil {
			return nil, err
		}
		shreds = []*secret.Key{key}
		if err := d.ShredLines(ends.Lines, now()); err != nil {
			return nil, err
		}
	}
	return d, d.Sign(authenticator(opened, shreds))
}

// NewBackupKey draws the key of a backup, and wraps it by each KEK.
func NewBackupKey(ctx context.Context, keks kms.Set, environment string) (*secret.Key, []envelope.Slot, error) {
	key, d := secret.New(), (&envelope.Backup{Environment: environment}).Place()
	root := envelope.Root{Generation: 1, ID: key.ID()}
	for _, kek := range keks.All() {
		slot, err := wrapRoot(ctx, kek, d, root, key)
		if err == nil {
			err = d.AddSlot(slot)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return key, d.Slots, d.Sign(authenticator(roots{root: {key: key}}, nil))
}

// BackupKey has the KEKs unwrap the key of a backup. The URLs in it are compared, never dialled. It returns
// kms.ErrWrongKey if no slot is theirs, and envelope.ErrAuthentication if a slot was altered.
func BackupKey(ctx context.Context, keks kms.Set, b *envelope.Backup) (*secret.Key, error) {
	failed := error(kms.ErrWrongKey)
	place := b.Place()
	for i := range b.Slots {
		one, err := unwrapSlot(ctx, keks, place, &b.Slots[i], new(health))
		if err == nil {
			return one.key, place.Verify(authenticator(roots{b.Slots[i].Root: one}, nil))
		}
		if failed == error(kms.ErrWrongKey) {
			failed = err
		}
	}
	return nil, failed
}
