package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Order is a request to rotate keysets of a tenant.
type Order struct {
	Class       classify.Class // 0 selects every class
	Compromised bool           // the former keys may have leaked: they are marked compromised, without a grace period or a rollback
	Requester   Requester

	isDue func(record *Record, s *envelope.Keyset) bool // further restricts the keysets; nil selects all
}

// errNothingToDo reports that there is no keyset to rotate, or that the rotation is already running.
var errNothingToDo = errors.New("rotation: nothing to do")

// Begin makes new primaries for a tenant's keysets and requests a sweep that re-encrypts the cache under them. It
// covers every use except browser storage, and changes all keysets in one edit of the tenant's document. If a rotation
// is already running, Begin adds only the keysets that the rotation does not cover yet. Once the change is announced in
// the audit log, the cancellation of ctx does not stop it.
//
// Begin returns keyring.ErrNoTenant, envelope.ErrKeyDestroyed if the tenant was shredded, ErrKeysetFull, or an error of
// the KEK, the keystore or the audit log.
func (r *Rotator) Begin(ctx context.Context, tenant string, order Order) (*Record, error) {
	var drawnKeys []*secret.Key
	defer func() {
		for _, key := range drawnKeys {
			key.Clear()
		}
	}()
	return r.changeKeysets(ctx, tenant, func(record *Record, d *envelope.Document, sweep *Sweep) (keysetEdit, []audit.Event, error) {
		if d.Shredded() {
			return nil, nil, envelope.ErrKeyDestroyed
		}
		selected, err := selectKeysets(record, d, order, sweep.LastComplete)
		if err != nil {
			return nil, nil, err
		}
		record.addPendingOrder(selected, r.now())
		record.State = Rotating
		keys := make([]*secret.Key, len(selected))
		for i := range keys {
			keys[i] = secret.New()
		}
		drawnKeys = append(drawnKeys, keys...)
		apply, events := prepareNewPrimaries(d, selected, keys)
		return apply, events, nil
	})
}

// Rollback makes the former primaries of the current rotation the primaries again, if they are still enabled. Packages
// that were sealed in the meantime still open, and their keys are retired like other former keys. If no keyset can be
// rolled back, Rollback returns ErrNoRollback.
func (r *Rotator) Rollback(ctx context.Context, tenant string, by Requester) (*Record, error) {
	return r.changeKeysets(ctx, tenant, func(record *Record, d *envelope.Document, _ *Sweep) (_ keysetEdit, events []audit.Event, _ error) {
		if record.State == RolledBack {
			return nil, nil, errNothingToDo
		}
		targets := record.rollbackTargets(d)
		if len(targets) == 0 {
			return nil, nil, ErrNoRollback
		}
		record.Requester, record.State = by, RolledBack
		for _, k := range targets {
			events = append(events, event(audit.KeyRollback, by, tenant, k.Use, k.Class, k.FormerPrimary))
		}
		return func(_ context.Context, e *keyring.Edit) error {
			for _, k := range targets {
				s := e.Keyset(k.Use, k.Class)
				if s != nil && s.Epoch() == k.Epoch+1 && ID(s.Primary()) == k.FormerPrimary {
					continue // an earlier write took effect, but its reply was lost
				}
				if s == nil || s.Epoch() != k.Epoch || e.Promote(k.Use, k.Class, format.KeyID(k.FormerPrimary)) != nil {
					return errConcurrentChange
				}
			}
			return nil
		}, events, nil
	})
}

// keysetEdit changes a tenant's keysets. It is called again if another process changed them in the meantime.
type keysetEdit func(ctx context.Context, e *keyring.Edit) error

// changeKeysets announces a change of a tenant's keysets in the audit log and makes it in one edit. prepare returns the
// change and its events. It is called again if another process changed the keysets in the meantime. The record is
// written before the change, so that a later check finds the change even if this process is killed. If prepare returns
// errNothingToDo, changeKeysets only advances the rotation.
func (r *Rotator) changeKeysets(
	ctx context.Context, tenant string, prepare func(record *Record, d *envelope.Document, sweep *Sweep) (keysetEdit, []audit.Event, error),
) (*Record, error) {
	for {
		var apply keysetEdit
		var events []audit.Event
		record, err := r.reconcile(ctx, tenant, false, func(record *Record, d *envelope.Document, sweep *Sweep) (err error) {
			record.NextCheck = r.now() + retryAfter
			apply, events, err = prepare(record, d, sweep)
			return err
		})
		switch {
		case errors.Is(err, errNothingToDo) && record.State == Idle:
			return record, nil
		case errors.Is(err, errNothingToDo):
			return r.advance(ctx, tenant, false)
		case err != nil:
			return record, err
		}
		err = audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
			return r.Keyring.Edit(ctx, tenant, func(e *keyring.Edit) error { return apply(ctx, e) })
		}, events...)
		if errors.Is(err, errConcurrentChange) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return record, fmt.Errorf("rotation: %w", err)
		}
		ctx, cancel := durable.Detach(ctx)
		defer cancel()
		if updated, err := r.advance(ctx, tenant, true); err == nil {
			return updated, nil
		}
		return record, nil // the change is in effect, and the next check updates the record
	}
}

// selectKeysets returns the keysets that get new primaries, or errNothingToDo if there are none. A keyset with a new
// primary does not get another one before a later sweep is complete. If a keyset cannot take another key, selectKeysets
// returns ErrKeysetFull. An order for due keysets skips the full ones instead.
func selectKeysets(record *Record, d *envelope.Document, order Order, lastComplete uint64) (selected []Keyset, err error) {
	full, simulated := false, *d
	simulated.Keysets = slices.Clone(d.Keysets)
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if !isRotated(s.Use) || order.Class != 0 && s.Class != order.Class || order.isDue != nil && !order.isDue(record, s) {
			continue
		}
		k := record.findKeyset(s.Use, s.Class)
		if k != nil && record.Ended == 0 && k.AfterSweep >= lastComplete && (k.Compromised || !order.Compromised) {
			continue
		}
		next := Keyset{Use: s.Use, Class: s.Class, FormerPrimary: ID(s.Primary()), Epoch: s.Epoch() + 1, Compromised: order.Compromised, Requester: order.Requester}
		if addTestKey(&simulated, s) {
			selected = append(selected, next)
		} else {
			full = true
		}
	}
	switch {
	case full && (order.isDue == nil || len(selected) == 0):
		return nil, ErrKeysetFull
	case len(selected) == 0:
		return nil, errNothingToDo
	}
	return selected, nil
}

// addPendingOrder adds keysets to the pending order. If a rotation is running, the order joins it.
func (r *Record) addPendingOrder(selected []Keyset, now int64) {
	p := &pendingOrder{ID: rand.Text()}
	if r.Pending != nil {
		*p = *r.Pending
	} else if r.Active() {
		p.ID = r.ID
	}
	p.At = now
	p.Keysets = slices.DeleteFunc(slices.Clone(p.Keysets), func(k Keyset) bool {
		return slices.ContainsFunc(selected, func(n Keyset) bool { return n.Use == k.Use && n.Class == k.Class })
	})
	p.Keysets = append(p.Keysets, selected...)
	r.Pending = p
}

// prepareNewPrimaries returns the edit that makes keys the primaries of the selected keysets, and its audit events. If
// a keyset is compromised, the roots are replaced first: a leaked root must not open the new keys.
func prepareNewPrimaries(d *envelope.Document, selected []Keyset, keys []*secret.Key) (apply keysetEdit, events []audit.Event) {
	leaked := make([][]format.KeyID, len(selected))
	for i, k := range selected {
		events = append(events, event(audit.KeyRotate, k.Requester, d.Owner, k.Use, k.Class, ID(keys[i].ID())))
		for _, key := range d.Keyset(k.Use, k.Class).Keys {
			if k.Compromised && key.State == envelope.Enabled {
				leaked[i] = append(leaked[i], key.ID)
				events = append(events, event(audit.KeyCompromised, k.Requester, d.Owner, k.Use, k.Class, ID(key.ID)))
			}
		}
	}
	return func(ctx context.Context, e *keyring.Edit) error {
		for i, k := range selected {
			s := e.Keyset(k.Use, k.Class)
			if s != nil && s.Key(keys[i].ID()) != nil {
				return nil // an earlier write took effect, but its reply was lost
			}
			if s == nil || s.Epoch()+1 != k.Epoch {
				return errConcurrentChange
			}
		}
		if slices.ContainsFunc(selected, func(k Keyset) bool { return k.Compromised }) {
			if err := e.ReplaceRoots(ctx); err != nil {
				return err
			}
		}
		for i, k := range selected {
			if err := e.AddKey(ctx, k.Use, k.Class, keys[i]); err != nil {
				return err
			}
			for _, id := range leaked[i] {
				if err := e.Advance(k.Use, k.Class, id, max(envelope.Compromised, e.Keyset(k.Use, k.Class).Key(id).State)); err != nil {
					return err
				}
			}
		}
		return nil
	}, events
}

// addTestKey adds a key to a keyset of d and reports whether the document still fits its size limit.
func addTestKey(d *envelope.Document, s *envelope.Keyset) bool {
	testKey := envelope.Key{State: envelope.Enabled, CreatedAt: s.RotatedAt(), Root: s.Keys[0].Root, Wrapped: make([]byte, envelope.WrappedSize)}
	_, _ = rand.Read(testKey.ID[:]) // never fails
	if d.AddKey(s.Use, s.Class, testKey) != nil {
		return false
	}
	fakeMAC := func(*envelope.Record) ([envelope.MACSize]byte, bool) { return [envelope.MACSize]byte{1}, true }
	if d.Sign(fakeMAC) != nil {
		return false
	}
	_, err := d.Append(nil)
	return err == nil
}
