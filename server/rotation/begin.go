package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Begin makes new primaries for a tenant's keysets, of every use but browsers' storage, and requests a sweep that
// brings the cache under them. A rotation that is under way already does what it can of the order; the rest joins
// it. Begin continues after ctx was canceled once the rotation is announced. It returns keyring.ErrNoTenant,
// envelope.ErrKeyDestroyed for a tenant that was shredded, ErrFull, and the errors of the KEK and of the keystore.
func (r *Rotator) Begin(ctx context.Context, tenant string, order Order) (*Record, error) {
	if _, err := r.settle(ctx, tenant); err != nil {
		return nil, err
	}
	sweep, err := r.Sweep(ctx)
	if err != nil {
		return nil, err
	}
	record, err := r.edit(ctx, tenant, func(record *Record) error {
		d, err := r.Ring.Document(ctx, tenant)
		if err == nil && d.Shredded() {
			err = envelope.ErrKeyDestroyed
		}
		if err != nil {
			return err
		}
		next, err := plan(record, d, order, sweep.Swept, r.now())
		if err == nil {
			next.Next = r.now() + retry
			*record = *next
		}
		return err
	})
	if errors.Is(err, errNothing) {
		return record, nil
	}
	if err != nil {
		return nil, err
	}
	return r.settleAnnounced(ctx, tenant)
}

// Rollback makes the primaries from before the current rotation the primaries again, if they are still enabled.
// Packages from the meantime still open, and the next rotation retires their keys. It returns ErrNoWayBack.
func (r *Rotator) Rollback(ctx context.Context, tenant string, by By) (*Record, error) {
	if _, err := r.settle(ctx, tenant); err != nil {
		return nil, err
	}
	record, err := r.edit(ctx, tenant, func(record *Record) error {
		if record.State == RolledBack {
			return nil
		}
		if !record.Active() {
			return ErrNoWayBack
		}
		d, err := r.Ring.Document(ctx, tenant)
		if err != nil {
			return err
		}
		if len(record.ways(d)) == 0 {
			return ErrNoWayBack
		}
		record.State, record.By, record.Next = RollingBack, by, r.now()+retry
		return nil
	})
	if err != nil || record.State == RolledBack {
		return record, err
	}
	return r.settleAnnounced(ctx, tenant)
}

// settleAnnounced completes a change that is announced, whether its caller stays or not.
func (r *Rotator) settleAnnounced(ctx context.Context, tenant string) (*Record, error) {
	ctx, cancel := durable.Detach(ctx)
	defer cancel()
	return r.settle(ctx, tenant)
}

// settle does what can be done now for a tenant's rotation, apart from its entries: it completes an announced
// change, destroys keys and requests sweeps. It returns the record, nil if the tenant has no record. Each change is
// bound to the keyset's epoch, or can be made again, so a delayed process changes nothing more.
func (r *Rotator) settle(ctx context.Context, tenant string) (*Record, error) {
	for {
		record, err := r.Record(ctx, tenant)
		if err != nil || record == nil || !record.Active() {
			return record, err
		}
		switch record.State {
		case Rotating:
			err = r.rotate(ctx, record)
		case RollingBack:
			err = r.rollBack(ctx, record)
		default:
			record, err = r.proceed(ctx, record)
			if err == nil {
				return record, nil
			}
		}
		if errors.Is(err, envelope.ErrKeyDestroyed) { // the tenant was shredded
			record, err = r.advance(ctx, record, func(record *Record) { record.end(Done, r.now()) })
		}
		if err != nil && !errors.Is(err, errMoved) {
			return record, err
		}
	}
}

func (r *Record) end(state State, now int64) {
	r.State, r.Former, r.Ended, r.Next = state, nil, now, 0
}

// rotate makes the new primaries that a record announces, and records each one.
func (r *Rotator) rotate(ctx context.Context, record *Record) error {
	t, err := r.Ring.Tenant(ctx, record.Tenant)
	if err != nil {
		return err
	}
	if err := r.replaceRoots(ctx, record); err != nil {
		return err
	}
	for _, k := range record.Keysets {
		if k.Made {
			continue
		}
		primary, err := t.Rotate(ctx, k.Use, k.Class, func(s *envelope.Keyset) bool { return s.Epoch() == k.Epoch })
		if err == nil {
			err = r.Audit.Record(ctx, event(audit.KeyRotate, k.By, record.Tenant, k.Use, k.Class, ID(primary)))
		}
		if err == nil && k.Compromised {
			err = r.compromise(ctx, record, k)
		}
		if err != nil {
			return fmt.Errorf("rotation: %w", err)
		}
	}
	sweep, err := r.Sweep(ctx)
	if err != nil {
		return err
	}
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	_, err = r.advance(ctx, record, func(record *Record) {
		record.made(d, sweep.Number, r.now(), (r.Ring.TTL() + Margin).Milliseconds(), r.Grace.Milliseconds())
	})
	return err
}

// replaceRoots gives a tenant new roots before the first new primary of compromised keys is made, so that a root that leaked with
// them opens none of the new ones.
func (r *Rotator) replaceRoots(ctx context.Context, record *Record) error {
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	replace := false
	for _, k := range record.Keysets {
		if s := d.Keyset(k.Use, k.Class); k.Compromised && !k.Made && s != nil {
			if s.Epoch() != k.Epoch {
				return nil
			}
			replace = true
		}
	}
	if replace {
		_, err = r.Ring.ReplaceRoots(ctx, record.Tenant)
	}
	return err
}

// compromise marks the former keys of a keyset.
func (r *Rotator) compromise(ctx context.Context, record *Record, k Keyset) error {
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	s := d.Keyset(k.Use, k.Class)
	if s == nil {
		return nil
	}
	for i := range s.Keys {
		key := &s.Keys[i]
		e := event(audit.KeyCompromised, k.By, record.Tenant, k.Use, k.Class, ID(key.ID))
		switch f := record.former(Key{k.Class, ID(key.ID)}); {
		case key.ID == s.Primary():
			continue
		case key.State == envelope.Enabled:
			err = r.announce(ctx, e, k.Use, envelope.Compromised)
		case key.State == envelope.Compromised && ID(key.ID) == k.From && (f == nil || !f.Compromised):
			err = audit.Confirm(ctx, r.Audit, e) // see destroy
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Rotator) rollBack(ctx context.Context, record *Record) error {
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	for _, k := range record.ways(d) {
		err := audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
			return r.Ring.Rollback(ctx, record.Tenant, k.Use, k.Class, format.KeyID(k.From), func(s *envelope.Keyset) bool { return s.Epoch() == k.Epoch })
		}, event(audit.KeyRollback, record.By, record.Tenant, k.Use, k.Class, k.From))
		if err != nil && !errors.Is(err, envelope.ErrKeyUnusable) { // an operator disabled it in the meantime
			return fmt.Errorf("rotation: %w", err)
		}
	}
	for _, k := range record.Keysets {
		if s := d.Keyset(k.Use, k.Class); record.Reversible(&k) && s != nil && s.Primary() == format.KeyID(k.From) {
			if err := audit.Confirm(ctx, r.Audit, event(audit.KeyRollback, record.By, record.Tenant, k.Use, k.Class, k.From)); err != nil { // see destroy
				return err
			}
		}
	}
	_, err = r.advance(ctx, record, func(record *Record) { record.end(RolledBack, r.now()) })
	return err
}

// proceed does the next step of a rotation that announces nothing, and writes down what follows.
func (r *Rotator) proceed(ctx context.Context, record *Record) (*Record, error) {
	sweep, err := r.Sweep(ctx)
	if err != nil {
		return record, err
	}
	if ahead := record.ahead(r.now()); ahead > 0 {
		slog.WarnContext(ctx, "a rotation was begun by a clock that was ahead: its times are corrected", "tenant", record.Tenant,
			"ahead", time.Duration(ahead)*time.Millisecond)
		return r.advance(ctx, record, func(record *Record) {
			record.correct(record.ahead(r.now()))
			record.Next = r.now()
		})
	}
	n := decide(record, sweep, r.now())
	var destroyed []Key
	var refused error
	if len(n.destroy) > 0 {
		if apart := r.apart(ctx); apart != "" {
			refused = fmt.Errorf("rotation: %s", apart)
		} else if destroyed, err = r.destroy(ctx, record, n.destroy); err != nil {
			return record, err
		}
	}
	if n.sweep > sweep.Wanted || n.full && !sweep.WantedFull && n.sweep > 0 {
		if _, err := r.editSweep(ctx, func(s *Sweep) error { s.request(n.sweep, n.full); return nil }); err != nil {
			return record, err
		}
	}
	record, err = r.advance(ctx, record, func(record *Record) {
		record.Former = slices.DeleteFunc(record.Former, func(f Former) bool { return slices.Contains(destroyed, f.Key) })
		record.follow(sweep, r.now())
	})
	if err == nil {
		err = refused
	}
	return record, err
}

// follow brings the state of a rotation that announces nothing up to date with a sweep.
func (r *Record) follow(sweep *Sweep, now int64) {
	n := decide(r, sweep, now)
	if len(n.destroy) > 0 {
		n.next = now + retry
	}
	if r.UnreadableIn < sweep.Swept && sweep.Judged {
		r.Failures, r.Counts.Failed = nil, 0
	}
	if n.state == Done {
		r.end(Done, now)
		return
	}
	r.State, r.Next = n.state, n.next
	if n.sweep > 0 && (n.next == 0 || n.next > now+recheck) {
		r.Next = now + recheck
	}
}

// followSwept is settle for a record that was just read, if its rotation only has to follow the sweep that ends. It reports false if
// there is more to do, or if another process changed the record in between.
func (r *Rotator) followSwept(ctx context.Context, record *Record, content []byte, sweep *Sweep) (bool, error) {
	if n := decide(record, sweep, r.now()); record.Announced() || record.ahead(r.now()) > 0 || len(n.destroy) > 0 || n.sweep > sweep.Wanted || n.full && !sweep.WantedFull {
		return false, nil
	}
	record.follow(sweep, r.now())
	changed, _ := json.Marshal(record) // cannot fail: texts and numbers only
	if bytes.Equal(changed, content) {
		return true, nil
	}
	return keystore.Replace(ctx, r.Keystore, keystore.Rotations, record.Tenant, content, changed, record.Next)
}

// destroy destroys former keys of the cache, and returns those that are destroyed, or are primaries again.
func (r *Rotator) destroy(ctx context.Context, record *Record, keys []Key) (gone []Key, err error) {
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return nil, err
	}
	if d.Shredded() {
		return nil, envelope.ErrKeyDestroyed
	}
	left := formerKeys(d)
	for _, k := range keys {
		e := event(audit.KeyDestroy, record.former(k).By, record.Tenant, format.UseCache, k.Class, k.ID)
		if _, ok := left[k]; ok {
			err = r.announce(ctx, e, format.UseCache, envelope.Destroyed)
		} else if s := d.Keyset(format.UseCache, k.Class); s != nil && s.Primary() != format.KeyID(k.ID) {
			err = audit.Confirm(ctx, r.Audit, e) // by a write that arrived late, of which a failure may be on record
		}
		if err != nil && !errors.Is(err, keyring.ErrInUse) {
			return gone, err
		}
		gone = append(gone, k)
	}
	return gone, nil
}

// announce records that a key advances to a state, and advances it.
func (r *Rotator) announce(ctx context.Context, e audit.Event, use format.Use, to envelope.State) error {
	err := audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
		return r.Ring.Advance(ctx, e.Tenant, use, e.Class, e.KeyID, to)
	}, e)
	if err != nil {
		return fmt.Errorf("rotation: %w", err)
	}
	return nil
}

// event returns the event of a change of a key. It names the caller who ordered the change, and why.
func event(action audit.Action, by By, tenant string, use format.Use, class classify.Class, id ID) audit.Event {
	return audit.Event{
		Action: action, Operation: "rotate", Tenant: tenant, Class: class, KeyID: format.KeyID(id), Facts: audit.Facts{audit.FactUse: use.String()}.With(by.Reason),
		RequestID: by.RequestID, Issuer: by.Issuer, Subject: by.Subject,
	}
}
