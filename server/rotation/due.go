package rotation

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// DueAt returns when a keyset gets a new primary because of its age, in milliseconds since 1970; 0 means never.
func (r *Rotator) DueAt(tenant string, s *envelope.Keyset) int64 {
	if r.Age == 0 || !rotates(s.Use) {
		return 0
	}
	return keyring.KeysetDue(tenant, s, r.Age, r.Now())
}

// due reports whether a tenant's keyset is to get a new primary because of its age, or because the primary that it has never seals
// again, as a restore can leave it.
func (r *Rotator) due(tenant string, s *envelope.Keyset) bool {
	if primary := s.Key(s.Primary()); primary != nil && primary.State != envelope.Enabled {
		return true
	}
	return r.Age > 0 && r.now() >= r.DueAt(tenant, s)
}

// repair puts right what other configurations and failovers leave wrong, in one pass over all keysets. The index of due times has the
// age of the process that wrote a keyset last, and a process without an age writes no due time. A failover can lose a tenant's record:
// then nothing would look at its former keys before its next rotation. Keysets that cannot be read are named by what uses them.
func (r *Rotator) repair(ctx context.Context) error {
	due := keyring.DueAfter(r.Age, r.Now)
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Keysets) {
		if err != nil && document.Err == nil { // of the store, which Ring.Documents does not distinguish from a damaged document
			return err
		}
		d, err := envelope.ParseDocument(document.Content)
		if err != nil || d.Owner == "" || d.Owner != document.Name {
			continue
		}
		if at := due(d); at > 0 && at <= r.now() {
			if err := r.postpone(ctx, keystore.Keysets, d.Owner, at); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(d.Keysets, hasFormer) {
			if err := r.beginLost(ctx, d.Owner); err != nil {
				return err
			}
		}
	}
	return nil
}

// beginLost begins a tenant's record again if it is missing. The record is due at once.
func (r *Rotator) beginLost(ctx context.Context, tenant string) error {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err == nil && content == nil {
		_, err = r.edit(ctx, tenant, func(record *Record) error { record.Next = r.now(); return nil })
	}
	return err
}

// hasFormer reports whether a keyset of the cache has a key that is neither its primary nor destroyed.
func hasFormer(s envelope.Keyset) bool {
	return s.Use == format.UseCache &&
		slices.ContainsFunc(s.Keys, func(k envelope.Key) bool { return k.ID != s.Primary() && k.State != envelope.Destroyed })
}

// beginDue begins the rotations of keysets that are due.
func (r *Rotator) beginDue(ctx context.Context) (more bool, failed error) {
	names, err := r.Keystore.Due(ctx, keystore.Keysets, r.now(), dueBatch)
	if err != nil {
		return false, err
	}
	overdue, more, failed := r.each(ctx, keystore.Keysets, names, func(ctx context.Context, name string) error {
		began := r.now()
		record, err := r.Begin(ctx, name, Order{due: r.due})
		if err == nil && record.Rotated < began { // nothing was due: another process was faster, or the age in the configuration changed
			err = r.postponeKeysets(ctx, name)
		}
		return err
	})
	first, err := r.firstDue(ctx)
	r.see(func(seen *Seen) {
		seen.Looked, seen.Overdue = true, overdue
		if first != nil {
			seen.Oldest = time.UnixMilli(oldestPrimary(first))
			if seen.Room < 0 { // before the first sweep
				seen.Room = first.Room()
			}
		}
	})
	failed = errors.Join(failed, err)
	return more && len(names) == dueBatch, failed
}

// postponeKeysets moves the due time of a tenant's keysets to when their ages say, or by a while if a rotation that is under way has
// to end first.
func (r *Rotator) postponeKeysets(ctx context.Context, tenant string) error {
	d, err := r.Ring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	due := keyring.DueAfter(r.Age, r.Now)(d)
	if due > 0 && due <= r.now() {
		due = r.now() + recheck
	}
	return r.postpone(ctx, keystore.Keysets, tenant, due)
}

// firstDue returns the document that is due first, which has the oldest primary of all tenants; nil if there is none.
func (r *Rotator) firstDue(ctx context.Context) (*envelope.Document, error) {
	names, err := r.Keystore.Due(ctx, keystore.Keysets, math.MaxInt64, 1)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return r.Ring.Document(ctx, names[0])
}
