package keyring

import (
	"context"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrAlive reports that a list or a log names keys of a tenant as ended, and that the store has them alive.
var ErrNotDestroyed = &codes.Error{
	Of: "key_unusable", Text: "the tenant was shredded, or keys of it destroyed, by what the audit log or the list says, but these keys are in the store and in use: " +
		"shred it again or destroy them, or leave it",
}

// Ends lists what ended since a copy of a tenant's document was made. The zero Ends is empty.
type Tombstones struct {
	ShreddedLines [][envelope.LineSize]byte // shredded, whether the copy has them or not
	DestroyedKeys map[format.KeyID]bool     // destroyed, primaries too
}

// alive reports whether a document has something alive that has ended.
func (e *Tombstones) alive(d *envelope.Document) bool {
	return slices.ContainsFunc(d.Lines(), func(line [envelope.LineSize]byte) bool { return slices.Contains(e.ShreddedLines, line) }) ||
		slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool {
			return slices.ContainsFunc(s.Keys, func(k envelope.Key) bool { return e.DestroyedKeys[k.ID] && k.State != envelope.Destroyed })
		})
}

// Merge applies ends to a copy of a document and joins it into its owner's document in the store, which it creates if it does not
// exist. Nothing in the store is lost, and keys and lines that were destroyed or shredded in either stay so. The records of both
// sides are verified first, so the KEKs must open their roots. It returns the document as it was, nil if it did not exist, and as it
// is. It returns ErrEnvironment for a document of another environment, ErrAlive if the store has something alive that has ended, and
// ErrUnreadable for a document that cannot be read or was altered; the store keeps it.
func (r *Keyring) RestoreDocument(ctx context.Context, copied *envelope.Document, ends Tombstones) (before, after *envelope.Document, err error) {
	if copied.Environment != r.environment {
		return nil, nil, ErrWrongEnvironment
	}
	opened, err := r.openAll(ctx, copied, roots{})
	if err != nil {
		return nil, nil, err
	}
	err = r.change(ctx, copied.Owner, func(d *envelope.Document, missing bool) (roots, error) {
		if missing {
			before, after, *d = nil, d, *copied
			return opened, r.end(ctx, d, ends, opened)
		}
		if ends.alive(d) {
			return nil, ErrNotDestroyed
		}
		if opened, err = r.openAll(ctx, d, opened); err != nil {
			return nil, err
		}
		if d.Shredded() { // as a whole, so what the copy has of a life before stays gone too
			ends.ShreddedLines = slices.Concat(ends.ShreddedLines, copied.Lines())
		}
		if err = r.end(ctx, copied, ends, opened); err != nil {
			return nil, err
		}
		was := *d
		before = &was
		if after, err = r.merge(ctx, before, copied, opened); err != nil {
			return nil, err
		}
		*d = *after
		return opened, nil
	})
	return before, after, err
}

// end applies what has ended to a verified document, and signs what that changes.
func (r *Keyring) end(ctx context.Context, d *envelope.Document, ends Tombstones, opened roots) error {
	d.DestroyKeys(ends.DestroyedKeys)
	var shreds []*secret.Key
	if len(ends.ShreddedLines) > 0 {
		key, err := r.shredKey(ctx)
		if err != nil {
			return err
		}
		shreds = []*secret.Key{key}
		if err := d.ShredLines(ends.ShreddedLines, now()); err != nil {
			return err
		}
	}
	return d.Sign(authenticator(opened, shreds))
}

// NewBackupKey draws the key of a backup, and has each KEK wrap it.
func (r *Keyring) NewBackupKey(ctx context.Context) (*secret.Key, []envelope.Slot, error) {
	key, place := secret.New(), (&envelope.Backup{Environment: r.environment}).SlotDocument()
	root := envelope.Root{Generation: 1, ID: key.ID()}
	e := &Edit{place, r, roots{root: {key: key}}}
	for _, kek := range r.keks.All() {
		if err := e.WrapRoot(ctx, root, kek); err != nil {
			return nil, nil, err
		}
	}
	return key, e.Slots, e.Sign(authenticator(e.opened, nil))
}

// BackupKey has the KEKs unwrap the key of a backup. The URLs in it are compared, never dialled. It returns kms.ErrWrongKey if no
// slot is theirs, and envelope.ErrAuthentication if a slot was altered.
func (r *Keyring) BackupKey(ctx context.Context, b *envelope.Backup) (*secret.Key, error) {
	place := b.SlotDocument()
	opened, err := r.unwrapRoots(ctx, place, nil)
	if err != nil {
		return nil, err
	}
	return opened[b.Slots[0].Root].key, place.Verify(authenticator(opened, nil))
}
