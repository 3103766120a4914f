package rotation

import (
	"maps"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// maxAhead is how far the clock of a server may be ahead. Times that are further ahead are corrected.
const maxAhead = 48 * time.Hour

// reconcileInput is the state of the process that reconciles a record. It reads the document before the sweep.
type reconcileInput struct {
	lastSweep       uint64 // number of the last sweep that has begun
	now             int64
	maxStaleSealing int64 // how long a process without access to the keystore can seal under a former key, in milliseconds
	grace           int64
}

// reconcile updates the record from the tenant's keysets. It returns the audit events of changes that are in effect but
// were missing in the record. The process that made such a change may have recorded it as failed, because its write
// took effect late.
func (r *Record) reconcile(d *envelope.Document, in reconcileInput) (unrecorded []audit.Event) {
	unrecorded = append(r.reconcilePending(d, in), r.reconcileFormerKeys(d, in)...)
	if r.Ended == 0 {
		unrecorded = append(unrecorded, r.detectRollback(d, in)...)
	}
	if d.Shredded() && r.Ended == 0 {
		r.Ended = in.now
	}
	if r.GraceUntil > in.now+in.grace+maxAhead.Milliseconds() {
		r.GraceUntil = in.now + in.grace
	}
	maps.DeleteFunc(r.Sealed, func(id ID, _ uint64) bool {
		return !slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool { return ID(s.Primary()) == id })
	})
	return unrecorded
}

// reconcilePending takes over the keysets of the pending order that have their new primary. If others still have none
// after a few minutes, the process was killed and they are dropped.
func (r *Record) reconcilePending(d *envelope.Document, in reconcileInput) (unrecorded []audit.Event) {
	p := r.Pending
	if p == nil {
		return nil
	}
	var left []Keyset
	for _, k := range p.Keysets {
		s := d.Keyset(k.Use, k.Class)
		if s == nil || s.Epoch() < k.Epoch {
			left = append(left, k)
			continue
		}
		if r.ID != p.ID {
			*r = Record{
				Tenant: r.Tenant, ID: p.ID, Begun: p.At, Pending: p, Former: r.Former,
				UnreadableIn: r.UnreadableIn, Sealed: r.Sealed,
			}
		}
		unrecorded = append(unrecorded, event(audit.KeyRotate, k.Requester, r.Tenant, k.Use, k.Class, ID(s.Primary())))
		if k.Compromised {
			unrecorded = append(unrecorded, event(audit.KeyCompromised, k.Requester, r.Tenant, k.Use, k.Class, k.FormerPrimary))
		}
		r.addKeyset(k, s, in)
	}
	if p.Keysets = left; len(left) == 0 || in.now-p.At > forgetOrderAfter || p.At-in.now > maxAhead.Milliseconds() {
		r.Pending = nil
	}
	return unrecorded
}

// addKeyset adds a keyset that has its new primary.
func (r *Record) addKeyset(k Keyset, s *envelope.Keyset, in reconcileInput) {
	k.AfterSweep = in.lastSweep
	if before := r.findKeyset(k.Use, k.Class); before == nil {
		r.Keysets = append(r.Keysets, k)
	} else {
		if isEnabled(s, before.FormerPrimary) {
			k.FormerPrimary = before.FormerPrimary
		}
		k.Compromised = k.Compromised || before.Compromised
		*before = k
	}
	r.Requester, r.Rotated, r.Ended, r.GraceUntil = k.Requester, in.now, 0, max(r.GraceUntil, in.now+in.grace)
	if !slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return !k.Compromised }) {
		r.GraceUntil = 0 // without a rollback, no grace period is needed
	}
}

// reconcileFormerKeys lists the former keys of the cache. A key that may have been the primary again in the meantime
// counts as a new former key.
func (r *Record) reconcileFormerKeys(d *envelope.Document, in reconcileInput) (unrecorded []audit.Event) {
	var all []formerKey
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if s.Use != format.UseCache {
			continue
		}
		for _, key := range s.Keys {
			if key.ID == s.Primary() {
				continue
			}
			f := r.formerKey(Key{s.Class, ID(key.ID)})
			if key.State == envelope.Destroyed {
				if f != nil {
					unrecorded = append(unrecorded, event(audit.KeyDestroy, f.Requester, r.Tenant, s.Use, s.Class, f.ID))
				}
				continue
			}
			if f == nil || f.Epoch != s.Epoch() && f.Epoch+1 != s.Epoch() || f.UnusedFrom > in.now+in.maxStaleSealing+maxAhead.Milliseconds() {
				f = &formerKey{Key: Key{s.Class, ID(key.ID)}, UnusedFrom: in.now + 1 + in.maxStaleSealing, KeepUntil: in.now + 1 + in.maxStaleSealing + in.grace, AfterSweep: in.lastSweep, Requester: r.requesterOf(s.Class)}
			}
			now := *f
			now.Epoch, now.Compromised = s.Epoch(), key.State == envelope.Compromised
			all = append(all, now)
		}
	}
	r.Former = all
	return unrecorded
}

// requesterOf returns the requester of the rotation of a class's cache keyset.
func (r *Record) requesterOf(class classify.Class) Requester {
	if k := r.findKeyset(format.UseCache, class); k != nil {
		return k.Requester
	}
	return r.Requester
}

// detectRollback marks the rotation as rolled back if a keyset's primary is its former primary again.
func (r *Record) detectRollback(d *envelope.Document, in reconcileInput) (unrecorded []audit.Event) {
	for _, k := range r.Keysets {
		if s := d.Keyset(k.Use, k.Class); s != nil && s.Epoch() > k.Epoch && ID(s.Primary()) == k.FormerPrimary {
			r.RolledBack, r.Ended = true, in.now
			unrecorded = append(unrecorded, event(audit.KeyRollback, r.Requester, r.Tenant, k.Use, k.Class, k.FormerPrimary))
		}
	}
	return unrecorded
}

// event returns the audit event of a change of a key. It names the requester and the reason.
func event(action audit.Action, by Requester, tenant string, use format.Use, class classify.Class, id ID) audit.Event {
	return audit.Event{
		Action: action, Operation: "rotate", Tenant: tenant, Class: class, KeyID: format.KeyID(id), Facts: audit.Facts{audit.FactUse: use.String()}.With(by.Reason),
		RequestID: by.RequestID, Issuer: by.Issuer, Subject: by.Subject,
	}
}
