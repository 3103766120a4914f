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

// maxAhead is how far the clock of a server can be ahead before times that it wrote down are corrected.
const maxAhead = 48 * time.Hour

// view is what a process knows when it brings a record in line with a document, which it has read before the sweep.
type view struct {
	sweep   uint64 // the number of the last sweep that has begun
	now     int64
	silence int64 // for how long processes that are cut off seal under a former key
	grace   int64
}

// sync brings the record in line with the tenant's keysets. It returns the events of changes that are in effect and that the
// record did not know: the process that made one may have recorded it as failed, because its write arrived late.
func (r *Record) sync(d *envelope.Document, v view) (late []audit.Event) {
	late = append(r.syncPending(d, v), r.syncFormer(d, v)...)
	if r.Ended == 0 {
		late = append(late, r.syncBack(d, v)...)
	}
	if d.Shredded() && r.Ended == 0 {
		r.Ended = v.now
	}
	if r.GraceUntil > v.now+v.grace+maxAhead.Milliseconds() {
		r.GraceUntil = v.now + v.grace
	}
	maps.DeleteFunc(r.Sealed, func(id ID, _ uint64) bool {
		return !slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool { return ID(s.Primary()) == id })
	})
	return late
}

// syncPending takes over those keysets of the pending order that have their new primary. The others never get one if they have
// none after a while: the process was killed.
func (r *Record) syncPending(d *envelope.Document, v view) (late []audit.Event) {
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
		late = append(late, event(audit.KeyRotate, k.Requester, r.Tenant, k.Use, k.Class, ID(s.Primary())))
		if k.Compromised {
			late = append(late, event(audit.KeyCompromised, k.Requester, r.Tenant, k.Use, k.Class, k.FormerPrimary))
		}
		r.add(k, s, v)
	}
	if p.Keysets = left; len(left) == 0 || v.now-p.At > forget || p.At-v.now > maxAhead.Milliseconds() {
		r.Pending = nil
	}
	return late
}

// add adds a keyset that has its new primary.
func (r *Record) add(k Keyset, s *envelope.Keyset, v view) {
	k.AfterSweep = v.sweep
	if before := r.keyset(k.Use, k.Class); before == nil {
		r.Keysets = append(r.Keysets, k)
	} else {
		if enabled(s, before.FormerPrimary) {
			k.FormerPrimary = before.FormerPrimary
		}
		k.Compromised = k.Compromised || before.Compromised
		*before = k
	}
	r.Requester, r.Rotated, r.Ended, r.GraceUntil = k.Requester, v.now, 0, max(r.GraceUntil, v.now+v.grace)
	if !slices.ContainsFunc(r.Keysets, func(k Keyset) bool { return !k.Compromised }) {
		r.GraceUntil = 0 // there is no way back to keep open
	}
}

// syncFormer lists the former keys of the cache. One that may have been the primary since it was last seen counts as new.
func (r *Record) syncFormer(d *envelope.Document, v view) (late []audit.Event) {
	var all []FormerKey
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if s.Use != format.UseCache {
			continue
		}
		for _, key := range s.Keys {
			if key.ID == s.Primary() {
				continue
			}
			f := r.former(Key{s.Class, ID(key.ID)})
			if key.State == envelope.Destroyed {
				if f != nil {
					late = append(late, event(audit.KeyDestroy, f.Requester, r.Tenant, s.Use, s.Class, f.ID))
				}
				continue
			}
			if f == nil || f.Epoch != s.Epoch() && f.Epoch+1 != s.Epoch() || f.UnusedFrom > v.now+v.silence+maxAhead.Milliseconds() {
				f = &FormerKey{Key: Key{s.Class, ID(key.ID)}, UnusedFrom: v.now + 1 + v.silence, KeepUntil: v.now + 1 + v.silence + v.grace, AfterSweep: v.sweep, Requester: r.orderOf(s.Class)}
			}
			now := *f
			now.Epoch, now.Compromised = s.Epoch(), key.State == envelope.Compromised
			all = append(all, now)
		}
	}
	r.Former = all
	return late
}

// orderOf returns who ordered the rotation of a class's keyset of the cache.
func (r *Record) orderOf(class classify.Class) Requester {
	if k := r.keyset(format.UseCache, class); k != nil {
		return k.Requester
	}
	return r.Requester
}

// syncBack notices a rollback.
func (r *Record) syncBack(d *envelope.Document, v view) (late []audit.Event) {
	for _, k := range r.Keysets {
		if s := d.Keyset(k.Use, k.Class); s != nil && s.Epoch() > k.Epoch && ID(s.Primary()) == k.FormerPrimary {
			r.RolledBack, r.Ended = true, v.now
			late = append(late, event(audit.KeyRollback, r.Requester, r.Tenant, k.Use, k.Class, k.FormerPrimary))
		}
	}
	return late
}

// event returns the event of a change of a key. It names the caller who ordered the change, and why.
func event(action audit.Action, by Requester, tenant string, use format.Use, class classify.Class, id ID) audit.Event {
	return audit.Event{
		Action: action, Operation: "rotate", Tenant: tenant, Class: class, KeyID: format.KeyID(id), Facts: audit.Facts{audit.FactUse: use.String()}.With(by.Reason),
		RequestID: by.RequestID, Issuer: by.Issuer, Subject: by.Subject,
	}
}
