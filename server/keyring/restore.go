package keyring

import (
	"context"
	"slices"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// ErrNotDestroyed reports that the store has usable keys that a tombstone marks as destroyed or shredded.
var ErrNotDestroyed = &codes.Error{
	ErrorCode: "key_unusable", Message: "the tenant was shredded, or keys of it destroyed, by what the audit log or the list says, but these keys are in the store and in use: " +
		"shred it again or destroy them, or leave it",
}

// Tombstones lists what was destroyed since a copy of a tenant's document was made, so that a restore does not bring
// it back. The zero value is empty.
type Tombstones struct {
	ShreddedLines [][envelope.LineSize]byte // lines of roots; the copy need not have them
	DestroyedKeys map[format.KeyID]bool     // including primaries
}

// matchUsable reports whether a document has usable roots or keys that the tombstones list.
func (t *Tombstones) matchUsable(d *envelope.Document) bool {
	return slices.ContainsFunc(d.Lines(), func(line [envelope.LineSize]byte) bool { return slices.Contains(t.ShreddedLines, line) }) ||
		slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool {
			return slices.ContainsFunc(s.Keys, func(k envelope.Key) bool { return t.DestroyedKeys[k.ID] && k.State != envelope.Destroyed })
		})
}

// RestoreDocument merges a copy of a keyset document, such as one of a backup, into the document in the store, and
// creates that if it does not exist. The store loses nothing. Keys and root lines that are destroyed or shredded on
// either side, or listed in tombstones, stay so. RestoreDocument verifies the records of both sides first, so the
// KEKs must open their roots.
//
// It returns the stored document from before, nil if it did not exist, and the merged one. It returns
// ErrWrongEnvironment for a copy from another environment, ErrNotDestroyed if the store has usable keys that
// tombstones lists, and ErrUnreadable if either document is damaged. After these errors the store is unchanged.
func (r *Keyring) RestoreDocument(ctx context.Context, copied *envelope.Document, tombstones Tombstones) (before, after *envelope.Document, err error) {
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
			return opened, r.applyTombstones(ctx, d, tombstones, opened)
		}
		if tombstones.matchUsable(d) {
			return nil, ErrNotDestroyed
		}
		if opened, err = r.openAll(ctx, d, opened); err != nil {
			return nil, err
		}
		if d.Shredded() { // the whole tenant, including everything in the copy
			tombstones.ShreddedLines = slices.Concat(tombstones.ShreddedLines, copied.Lines())
		}
		if err = r.applyTombstones(ctx, copied, tombstones, opened); err != nil {
			return nil, err
		}
		stored := *d
		before = &stored
		if after, err = r.merge(ctx, before, copied, opened); err != nil {
			return nil, err
		}
		*d = *after
		return opened, nil
	})
	return before, after, err
}

// applyTombstones destroys and shreds in a verified document, and signs the changed records.
func (r *Keyring) applyTombstones(ctx context.Context, d *envelope.Document, tombstones Tombstones, opened roots) error {
	d.DestroyKeys(tombstones.DestroyedKeys)
	var shredKeys []*secret.Key
	if len(tombstones.ShreddedLines) > 0 {
		key, err := r.shredKey(ctx)
		if err != nil {
			return err
		}
		shredKeys = []*secret.Key{key}
		if err := d.ShredLines(tombstones.ShreddedLines, now()); err != nil {
			return err
		}
	}
	return d.Sign(authenticator(opened, shredKeys))
}
