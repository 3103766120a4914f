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

// DueAt returns when a keyset gets a new primary because of its age, in milliseconds since 1970; 0 means never.
func (r *Rotator) DueAt(s *envelope.Keyset) int64 {
	return primaryDueTime(s, r.MaxAge, r.Now())
}

// isDue reports whether a keyset should get a new primary now, because of its age or its uses.
func (r *Rotator) isDue(record *Record, s *envelope.Keyset) bool {
	at := r.DueAt(s)
	return at > 0 && at <= r.now() || r.MaxUses > 0 && record.Sealed[ID(s.Primary())] >= r.MaxUses && r.now() >= AgeDueTime(s, minPrimaryAge(s), r.Now())
}

// minPrimaryAge is the minimum age of a primary that is replaced because of its uses. It grows with the number of keys,
// so that a low MaxUses does not fill the keyset: the primary of a keyset with 1,000 keys stays for over 600 days.
func minPrimaryAge(s *envelope.Keyset) time.Duration {
	n := time.Duration(len(s.Keys) - 1)
	return n * n * time.Minute
}

// repairRecords corrects due times and restores lost records in one scan of all keysets. Due times can be wrong because
// a process writes them according to its own MaxAge, or not at all if it has none. A failover of the store can lose a
// tenant's record, and then its former keys would not be checked before the next rotation. The scan also finds the
// fullest tenant. It skips keysets that cannot be read: the code that uses them reports the error.
func (r *Rotator) repairRecords(ctx context.Context) error {
	dueAt, spare := DueTime(r.MaxAge, r.Now), -1
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Keysets) {
		if err != nil && document.Err == nil { // an error of the store, not of one document
			return err
		}
		d, err := envelope.ParseDocument(document.Content)
		if err != nil || d.Owner == "" || d.Owner != document.Name {
			continue
		}
		if n := d.RemainingRotations(); spare < 0 || n < spare {
			spare = n
		}
		if at := dueAt(d); at > 0 && at <= r.now() {
			if err := r.setDue(ctx, keystore.Keysets, d.Owner, at); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(d.Keysets, hasFormerKey) {
			if err := r.restoreRecord(ctx, d.Owner); err != nil {
				return err
			}
		}
	}
	r.updateStats(func(stats *Stats) { stats.SpareRotations = spare })
	return nil
}

// restoreRecord creates a tenant's record if it is missing. The record is due at once.
func (r *Rotator) restoreRecord(ctx context.Context, tenant string) error {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err == nil && content == nil {
		_, err = r.editRecord(ctx, tenant, func(record *Record) error { record.NextCheck = r.now(); return nil })
	}
	return err
}

// hasFormerKey reports whether a keyset of the cache has a key that is neither its primary nor destroyed.
func hasFormerKey(s envelope.Keyset) bool {
	primary := s.Primary()
	return s.Use == format.UseCache &&
		slices.ContainsFunc(s.Keys, func(k envelope.Key) bool { return k.ID != primary && k.State != envelope.Destroyed })
}

// beginDueRotations begins the rotations of keysets that are due.
func (r *Rotator) beginDueRotations(ctx context.Context) (more bool, failed error) {
	names, err := r.Keystore.Due(ctx, keystore.Keysets, r.now(), dueBatch)
	if err != nil {
		return false, err
	}
	overdue, more, failed := r.forEach(ctx, keystore.Keysets, names, func(ctx context.Context, name string) error {
		beganAt := r.now()
		record, err := r.Begin(ctx, name, Order{isDue: r.isDue})
		if err == nil && record.Rotated < beganAt { // nothing was due: another process was faster, or MaxAge has changed
			err = r.updateKeysetsDue(ctx, name)
		}
		return err
	})
	first, err := r.firstDueDocument(ctx)
	r.updateStats(func(stats *Stats) {
		stats.Checked, stats.Overdue = true, overdue
		if first != nil {
			stats.OldestPrimary = time.UnixMilli(oldestPrimary(first))
		}
	})
	failed = errors.Join(failed, err)
	return more && len(names) == dueBatch, failed
}

// updateKeysetsDue sets the due time of a tenant's keysets according to their age. If they are due but a running
// rotation must finish first, it sets the due time to an hour from now.
func (r *Rotator) updateKeysetsDue(ctx context.Context, tenant string) error {
	d, err := r.Keyring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	due := DueTime(r.MaxAge, r.Now)(d)
	if due > 0 && due <= r.now() {
		due = r.now() + recheckAfter
	}
	return r.setDue(ctx, keystore.Keysets, tenant, due)
}

// firstDueDocument returns the document that is due first, which has the oldest primary of all tenants, or nil.
func (r *Rotator) firstDueDocument(ctx context.Context) (*envelope.Document, error) {
	names, err := r.Keystore.Due(ctx, keystore.Keysets, math.MaxInt64, 1)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return r.Keyring.Document(ctx, names[0])
}

// unsavedUses counts the packages that keys have sealed in this process and that no record contains yet.
type unsavedUses map[string]map[format.KeyID]uint64

// save adds the counts to the records and begins the rotations that are due because of them. It keeps the counts that
// it could not write.
func (u unsavedUses) save(ctx context.Context, r *Rotator) (failed error) {
	r.Keyring.DrainSealCounts(func(tenant string, id format.KeyID, n uint64) { // even if MaxUses is 0: otherwise the keyring keeps all counters
		if u[tenant] == nil {
			u[tenant] = map[format.KeyID]uint64{}
		}
		u[tenant][id] += n
	})
	if r.MaxUses == 0 {
		clear(u)
	}
	for tenant, sealed := range u {
		record, err := r.editRecord(ctx, tenant, func(record *Record) error {
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
			_, err = r.Begin(ctx, tenant, Order{isDue: r.isDue})
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
