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

// Order selects the keysets to rotate.
type Order struct {
	Class       classify.Class // 0 means every class
	Compromised bool           // the former keys may have leaked: they never seal again, without a grace period or a rollback
	Requester   Requester

	due func(record *Record, s *envelope.Keyset) bool // nil means all keysets
}

// errNothing reports that there is nothing to rotate, or that the rotation is under way.
var errNothing = errors.New("rotation: nothing to begin")

// Begin makes new primaries for a tenant's keysets, of every use but browsers' storage, all of them in one change of the tenant's
// document, and requests a sweep that brings the cache under them. A rotation that is under way already does what it can of the
// order; the rest joins it. Begin continues after ctx was canceled once the change is announced. It returns keyring.ErrNoTenant,
// envelope.ErrKeyDestroyed for a tenant that was shredded, ErrFull, and the errors of the KEK and of the keystore.
func (r *Rotator) Begin(ctx context.Context, tenant string, order Order) (*Record, error) {
	var drawn []*secret.Key
	defer func() {
		for _, key := range drawn {
			key.Clear()
		}
	}()
	return r.change(ctx, tenant, func(record *Record, d *envelope.Document, sweep *Sweep) (edit, []audit.Event, error) {
		if d.Shredded() {
			return nil, nil, envelope.ErrKeyDestroyed
		}
		planned, err := plan(record, d, order, sweep.LastComplete)
		if err != nil {
			return nil, nil, err
		}
		record.announce(planned, r.now())
		record.State = Rotating
		keys := make([]*secret.Key, len(planned))
		for i := range keys {
			keys[i] = secret.New()
		}
		drawn = append(drawn, keys...)
		apply, events := newPrimaries(d, planned, keys)
		return apply, events, nil
	})
}

// Rollback makes the primaries from before the current rotation the primaries again, if they are still enabled.
// Packages from the meantime still open, and their keys are retired as others are. It returns ErrNoWayBack.
func (r *Rotator) Rollback(ctx context.Context, tenant string, by Requester) (*Record, error) {
	return r.change(ctx, tenant, func(record *Record, d *envelope.Document, _ *Sweep) (_ edit, events []audit.Event, _ error) {
		if record.State == RolledBack {
			return nil, nil, errNothing
		}
		ways := record.ways(d)
		if len(ways) == 0 {
			return nil, nil, ErrNoRollback
		}
		record.Requester, record.State = by, RolledBack
		for _, k := range ways {
			events = append(events, event(audit.KeyRollback, by, tenant, k.Use, k.Class, k.FormerPrimary))
		}
		return func(_ context.Context, e *keyring.Edit) error {
			for _, k := range ways {
				s := e.Keyset(k.Use, k.Class)
				if s != nil && s.Epoch() == k.Epoch+1 && ID(s.Primary()) == k.FormerPrimary {
					continue // by a write whose reply was lost
				}
				if s == nil || s.Epoch() != k.Epoch || e.Promote(k.Use, k.Class, format.KeyID(k.FormerPrimary)) != nil {
					return errMoved
				}
			}
			return nil
		}, events, nil
	})
}

// edit changes a tenant's keysets. It is called again if another process changed them in between.
type edit func(ctx context.Context, e *keyring.Edit) error

// change announces a change of a tenant's keysets and makes it in one step. plan prepares the record and the change; it is asked
// again if another process changed the keysets in between. The record is written before, so that a look finds a change whose
// process was killed. If plan returns errNothing, change only looks at the rotation.
func (r *Rotator) change(
	ctx context.Context, tenant string, plan func(record *Record, d *envelope.Document, sweep *Sweep) (edit, []audit.Event, error),
) (*Record, error) {
	for {
		var apply edit
		var events []audit.Event
		record, err := r.sync(ctx, tenant, false, func(record *Record, d *envelope.Document, sweep *Sweep) (err error) {
			record.NextCheck = r.now() + retry
			apply, events, err = plan(record, d, sweep)
			return err
		})
		switch {
		case errors.Is(err, errNothing) && record.State == Idle:
			return record, nil
		case errors.Is(err, errNothing):
			return r.settle(ctx, tenant, false)
		case err != nil:
			return record, err
		}
		err = audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
			return r.Keyring.Edit(ctx, tenant, func(e *keyring.Edit) error { return apply(ctx, e) })
		}, events...)
		if errors.Is(err, errMoved) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return record, fmt.Errorf("rotation: %w", err)
		}
		ctx, cancel := durable.Detach(ctx)
		defer cancel()
		if settled, err := r.settle(ctx, tenant, true); err == nil {
			return settled, nil
		}
		return record, nil // the change is in effect, and the next look brings the record in line
	}
}

// plan returns the keysets that get new primaries. It returns errNothing if there are none: a keyset that has a new primary gets no
// other one until a sweep that started later is complete. It returns ErrFull if there is no room for the new keys, unless the order
// is for keysets that are due: those with room are rotated then.
func plan(record *Record, d *envelope.Document, order Order, swept uint64) (planned []Keyset, err error) {
	full, scratch := false, *d
	scratch.Keysets = slices.Clone(d.Keysets)
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if !isRotated(s.Use) || order.Class != 0 && s.Class != order.Class || order.due != nil && !order.due(record, s) {
			continue
		}
		k := record.keyset(s.Use, s.Class)
		if k != nil && record.Ended == 0 && k.AfterSweep >= swept && (k.Compromised || !order.Compromised) {
			continue
		}
		next := Keyset{Use: s.Use, Class: s.Class, FormerPrimary: ID(s.Primary()), Epoch: s.Epoch() + 1, Compromised: order.Compromised, Requester: order.Requester}
		if room(&scratch, s) {
			planned = append(planned, next)
		} else {
			full = true
		}
	}
	switch {
	case full && (order.due == nil || len(planned) == 0):
		return nil, ErrKeysetFull
	case len(planned) == 0:
		return nil, errNothing
	}
	return planned, nil
}

// announce adds keysets to the pending order. It joins a rotation that is under way.
func (r *Record) announce(planned []Keyset, now int64) {
	p := &PendingOrder{ID: rand.Text()}
	if r.Pending != nil {
		*p = *r.Pending
	} else if r.Active() {
		p.ID = r.ID
	}
	p.At = now
	p.Keysets = slices.DeleteFunc(slices.Clone(p.Keysets), func(k Keyset) bool {
		return slices.ContainsFunc(planned, func(n Keyset) bool { return n.Use == k.Use && n.Class == k.Class })
	})
	p.Keysets = append(p.Keysets, planned...)
	r.Pending = p
}

// newPrimaries returns how keys become the primaries of keysets, and the events of that. Compromised keysets get new roots first: a
// root that leaked with the former keys opens none of the new ones.
func newPrimaries(d *envelope.Document, planned []Keyset, keys []*secret.Key) (apply edit, events []audit.Event) {
	leaked := make([][]format.KeyID, len(planned))
	for i, k := range planned {
		events = append(events, event(audit.KeyRotate, k.Requester, d.Owner, k.Use, k.Class, ID(keys[i].ID())))
		for _, key := range d.Keyset(k.Use, k.Class).Keys {
			if k.Compromised && key.State == envelope.Enabled {
				leaked[i] = append(leaked[i], key.ID)
				events = append(events, event(audit.KeyCompromised, k.Requester, d.Owner, k.Use, k.Class, ID(key.ID)))
			}
		}
	}
	return func(ctx context.Context, e *keyring.Edit) error {
		for i, k := range planned {
			s := e.Keyset(k.Use, k.Class)
			if s != nil && s.Key(keys[i].ID()) != nil {
				return nil // by a write whose reply was lost
			}
			if s == nil || s.Epoch()+1 != k.Epoch {
				return errMoved
			}
		}
		if slices.ContainsFunc(planned, func(k Keyset) bool { return k.Compromised }) {
			if err := e.ReplaceRoots(ctx); err != nil {
				return err
			}
		}
		for i, k := range planned {
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

// room adds a key to a keyset, and reports whether it fits.
func room(d *envelope.Document, s *envelope.Keyset) bool {
	none := envelope.Key{State: envelope.Enabled, CreatedAt: s.RotatedAt(), Root: s.Keys[0].Root, Wrapped: make([]byte, envelope.WrappedSize)}
	_, _ = rand.Read(none.ID[:]) // cannot fail
	if d.AddKey(s.Use, s.Class, none) != nil {
		return false
	}
	sizes := func(*envelope.Record) ([envelope.MACSize]byte, bool) { return [envelope.MACSize]byte{1}, true }
	if d.Sign(sizes) != nil {
		return false
	}
	_, err := d.Append(nil)
	return err == nil
}
