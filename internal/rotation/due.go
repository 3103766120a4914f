package rotation

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// DueAt returns when a keyset gets a new primary, apart from its uses, in milliseconds since 1970; 0 means never.
func (r *Rotator) DueAt(s *envelope.Keyset) int64 {
	return primaryDueTime(s, r.MaxAge, r.Now())
}

// due reports whether a keyset is to get a new primary now.
func (r *Rotator) due(record *Record, s *envelope.Keyset) bool {
	at := r.DueAt(s)
	return at > 0 && at <= r.now() || r.MaxUses > 0 && record.Sealed[ID(s.Primary())] >= r.MaxUses && r.now() >= AgeDueTime(s, rest(s), r.Now())
}

// rest is the least age of a primary that gets a successor because of its uses: it grows with the number of keys,
// so that a small number of uses does not fill the keyset. One of 1,000 keys rests for more than 600 days.
func rest(s *envelope.Keyset) time.Duration {
	n := time.Duration(len(s.Keys) - 1)
	return n * n * time.Minute
}

// repair puts right what other configurations and failovers leave wrong, in one pass over all keysets. The index of due times has the
// age of the process that wrote a keyset last, and a process without an age writes no due time. A failover can lose a tenant's record:
// then nothing would look at its former keys before its next rotation. Keysets that cannot be read are named by what uses them. The
// same pass finds the fullest tenant.
func (r *Rotator) repair(ctx context.Context) error {
	due, room := DueTime(r.MaxAge, r.Now), -1
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Keysets) {
		if err != nil && document.Err == nil { // of the store, which Ring.Documents does not distinguish from a damaged document
			return err
		}
		d, err := envelope.ParseDocument(document.Content)
		if err != nil || d.Owner == "" || d.Owner != document.Name {
			continue
		}
		if n := d.RemainingRotations(); room < 0 || n < room {
			room = n
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
	r.see(func(seen *Stats) { seen.SpareRotations = room })
	return nil
}

// beginLost begins a tenant's record again if it is missing. The record is due at once.
func (r *Rotator) beginLost(ctx context.Context, tenant string) error {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err == nil && content == nil {
		_, err = r.edit(ctx, tenant, func(record *Record) error { record.NextCheck = r.now(); return nil })
	}
	return err
}

// hasFormer reports whether a keyset of the cache has a key that is neither its primary nor destroyed.
func hasFormer(s envelope.Keyset) bool {
	primary := s.Primary()
	return s.Use == format.UseCache &&
		slices.ContainsFunc(s.Keys, func(k envelope.Key) bool { return k.ID != primary && k.State != envelope.Destroyed })
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
	r.see(func(seen *Stats) {
		seen.Checked, seen.Overdue = true, overdue
		if first != nil {
			seen.OldestPrimary = time.UnixMilli(oldestPrimary(first))
		}
	})
	failed = errors.Join(failed, err)
	return more && len(names) == dueBatch, failed
}

// postponeKeysets moves the due time of a tenant's keysets to when their ages say, or by a while if a rotation that is under way has
// to end first.
func (r *Rotator) postponeKeysets(ctx context.Context, tenant string) error {
	d, err := r.Keyring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	due := DueTime(r.MaxAge, r.Now)(d)
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
	return r.Keyring.Document(ctx, names[0])
}

// used counts what keys have sealed in this process and is in no record yet.
type used map[string]map[format.KeyID]uint64

// save adds it to the records, and begins the rotations that are due now. It keeps what cannot be written.
func (u used) save(ctx context.Context, r *Rotator) (failed error) {
	r.Keyring.DrainSealCounts(func(tenant string, id format.KeyID, n uint64) { // in any case, or the keyring would keep all counters
		if u[tenant] == nil {
			u[tenant] = map[format.KeyID]uint64{}
		}
		u[tenant][id] += n
	})
	if r.MaxUses == 0 {
		clear(u)
	}
	for tenant, sealed := range u {
		record, err := r.edit(ctx, tenant, func(record *Record) error {
			for id, n := range sealed {
				record.addSealed(ID(id), n)
			}
			return nil
		})
		if err != nil {
			failed = errors.Join(failed, ofTenant(tenant, err))
			continue
		}
		delete(u, tenant)
		if slices.ContainsFunc(slices.Collect(maps.Values(record.Sealed)), func(n uint64) bool { return n >= r.MaxUses }) {
			_, err = r.Begin(ctx, tenant, Order{due: r.due})
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
