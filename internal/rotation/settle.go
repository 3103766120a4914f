package rotation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// sync brings a tenant's record in line with its keysets, and changes it. The events of changes that the record did not know are
// recorded, unless this process has made them and recorded them just now.
func (r *Rotator) sync(
	ctx context.Context, tenant string, made bool, change func(record *Record, d *envelope.Document, sweep *Sweep) error,
) (*Record, error) {
	return r.edit(ctx, tenant, func(record *Record) error {
		d, err := r.Keyring.Document(ctx, tenant)
		if err != nil {
			return err
		}
		sweep, err := r.CurrentSweep(ctx) // after the document: a later sweep starts after what the document says
		if err != nil {
			return err
		}
		late := record.sync(d, view{sweep.Number, r.now(), (r.Keyring.TTL() + Margin).Milliseconds(), r.Grace.Milliseconds()})
		record.State = decide(record, sweep, r.now()).state
		if err := change(record, d, sweep); err != nil {
			return err
		}
		for _, e := range late {
			if made {
				break
			}
			if err := audit.RecordAlreadyDone(ctx, r.Audit, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// settle does what can be done now for a tenant's rotation, apart from its entries: it destroys keys and requests sweeps. Each
// change is bound to the keyset's epoch, so a delayed process changes nothing more. made says that this process has just made the
// change that the record announces.
func (r *Rotator) settle(ctx context.Context, tenant string, made bool) (*Record, error) {
	for {
		var n step
		record, err := r.sync(ctx, tenant, made, func(record *Record, _ *envelope.Document, sweep *Sweep) (err error) {
			if n = decide(record, sweep, r.now()); n.requests(sweep) {
				_, err = r.editSweep(ctx, func(s *Sweep) error { s.request(n.sweep, n.full); return nil })
			}
			if record.UnreadableIn < sweep.LastComplete {
				record.Failures, record.Counts.Failed = nil, 0
			}
			if record.NextCheck = n.next; n.state == Done && record.Ended == 0 {
				record.Ended = r.now()
			}
			return err
		})
		if err != nil || len(n.destroy) == 0 {
			return record, err
		}
		if apart := r.apart(ctx); apart != "" {
			return record, fmt.Errorf("rotation: %s", apart)
		}
		if err = r.destroy(ctx, record, n.destroy); err != nil && !errors.Is(err, errMoved) {
			return record, err
		}
		made = err == nil
	}
}

// destroy destroys former keys of the cache, all of them in one step.
func (r *Rotator) destroy(ctx context.Context, record *Record, keys []Key) error {
	var events []audit.Event
	for _, k := range keys {
		events = append(events, event(audit.KeyDestroy, record.former(k).Requester, record.Tenant, format.UseCache, k.Class, k.ID))
	}
	err := audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
		return r.Keyring.Edit(ctx, record.Tenant, func(e *keyring.Edit) error {
			for _, k := range keys {
				if s := e.Keyset(format.UseCache, k.Class); s == nil || s.Epoch() != record.former(k).Epoch || s.Key(format.KeyID(k.ID)) == nil {
					return errMoved
				}
				if err := e.Advance(format.UseCache, k.Class, format.KeyID(k.ID), envelope.Destroyed); err != nil {
					return err
				}
			}
			return nil
		})
	}, events...)
	if err != nil {
		return fmt.Errorf("rotation: %w", err)
	}
	return nil
}

// settleDue looks at rotations that are due, and at those that go on because of a sweep that this process ended.
func (r *Rotator) settleDue(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	names := r.released
	r.released = nil
	r.mu.Unlock()
	_, _, failed := r.each(ctx, keystore.Rotations, names, r.settleOne) // or at their due time, if this process ends
	if names, err = r.Keystore.Due(ctx, keystore.Rotations, r.now(), dueBatch); err == nil {
		_, more, err = r.each(ctx, keystore.Rotations, names, r.settleOne)
	}
	return more, errors.Join(failed, err)
}

func (r *Rotator) settleOne(ctx context.Context, name string) error {
	before, content, altered := r.read(ctx, name)
	if altered == nil && content == nil { // it was removed by hand
		return r.postpone(ctx, keystore.Rotations, name, 0)
	}
	if altered != nil && !errors.Is(altered, errAltered) {
		return altered
	}
	record, err := r.settle(ctx, name, false)               // replaces an altered one
	if err == nil && record.NextCheck == before.NextCheck { // only the index is late: a write that failed can leave it so
		err = r.postpone(ctx, keystore.Rotations, name, record.NextCheck)
	}
	return errors.Join(altered, err)
}

// each does something for documents that are due. One that fails is looked at again after a minute, and delays no other.
func (r *Rotator) each(
	ctx context.Context, kind keystore.Kind, names []string, do func(ctx context.Context, name string) error,
) (failed int, more bool, err error) {
	more = len(names) > 0
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // other processes have the same ones
	for _, name := range names {
		if ctx.Err() != nil {
			return failed, false, ctx.Err()
		}
		e := do(ctx, name)
		if e == nil || ctx.Err() != nil {
			continue
		}
		failed++
		err = errors.Join(err, ofTenant(name, e))
		if e := r.postpone(ctx, kind, name, r.now()+retry); e != nil {
			more = false
		}
	}
	return failed, more, err
}

func ofTenant(tenant string, err error) error { return fmt.Errorf("tenant %q: %w", tenant, err) }

// postpone moves the due time of a document and keeps its content. It removes the due time of a document that does not exist.
func (r *Rotator) postpone(ctx context.Context, kind keystore.Kind, name string, due int64) error {
	content, err := r.Keystore.Get(ctx, kind, name)
	if err == nil {
		_, err = keystore.Replace(ctx, r.Keystore, kind, name, content, content, due)
	}
	return err
}
