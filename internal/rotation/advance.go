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

// reconcile updates a tenant's record from its keysets, applies change to it, and writes it. It records the audit
// events of changes that the record did not contain, unless recorded is true: then this process has just recorded them.
func (r *Rotator) reconcile(
	ctx context.Context, tenant string, recorded bool, change func(record *Record, d *envelope.Document, sweep *Sweep) error,
) (*Record, error) {
	return r.editRecord(ctx, tenant, func(record *Record) error {
		d, err := r.Keyring.Document(ctx, tenant)
		if err != nil {
			return err
		}
		sweep, err := r.CurrentSweep(ctx) // read after the document, so that a later sweep starts after the document's changes
		if err != nil {
			return err
		}
		unrecorded := record.reconcile(d, reconcileInput{sweep.Number, r.now(), (r.Keyring.TTL() + Margin).Milliseconds(), r.Grace.Milliseconds()})
		record.State = decide(record, sweep, r.now()).state
		if err := change(record, d, sweep); err != nil {
			return err
		}
		for _, e := range unrecorded {
			if recorded {
				break
			}
			if err := audit.RecordAlreadyDone(ctx, r.Audit, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// advance does the pending work of a tenant's rotation, except for the entries: it destroys keys and requests sweeps.
// Each change is bound to the epoch of the keyset, so a delayed process cannot change a newer one. recorded means that
// this process has just made and recorded the change that the record announces.
func (r *Rotator) advance(ctx context.Context, tenant string, recorded bool) (*Record, error) {
	for {
		var d decision
		record, err := r.reconcile(ctx, tenant, recorded, func(record *Record, _ *envelope.Document, sweep *Sweep) (err error) {
			if d = decide(record, sweep, r.now()); d.requestsSweep(sweep) {
				_, err = r.editSweep(ctx, func(s *Sweep) error { s.request(d.sweepNumber, d.fullRate); return nil })
			}
			if record.UnreadableIn < sweep.LastComplete {
				record.Failures, record.Counts.Failed = nil, 0
			}
			if record.NextCheck = d.nextCheck; d.state == Done && record.Ended == 0 {
				record.Ended = r.now()
			}
			return err
		})
		if err != nil || len(d.destroy) == 0 {
			return record, err
		}
		if unshared := r.unsharedReason(ctx); unshared != "" {
			return record, fmt.Errorf("rotation: %s", unshared)
		}
		if err = r.destroy(ctx, record, d.destroy); err != nil && !errors.Is(err, errConcurrentChange) {
			return record, err
		}
		recorded = err == nil
	}
}

// destroy destroys former keys of the cache in one edit.
func (r *Rotator) destroy(ctx context.Context, record *Record, keys []Key) error {
	var events []audit.Event
	for _, k := range keys {
		events = append(events, event(audit.KeyDestroy, record.formerKey(k).Requester, record.Tenant, format.UseCache, k.Class, k.ID))
	}
	err := audit.Announce(ctx, r.Audit, func(ctx context.Context) error {
		return r.Keyring.Edit(ctx, record.Tenant, func(e *keyring.Edit) error {
			for _, k := range keys {
				if s := e.Keyset(format.UseCache, k.Class); s == nil || s.Epoch() != record.formerKey(k).Epoch || s.Key(format.KeyID(k.ID)) == nil {
					return errConcurrentChange
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

// advanceDue advances the rotations that are due, and those that can continue because this process finished a sweep.
func (r *Rotator) advanceDue(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	names := r.unblocked
	r.unblocked = nil
	r.mu.Unlock()
	_, _, failed := r.forEach(ctx, keystore.Rotations, names, r.advanceOne) // also at their due time, in case this process ends before
	if names, err = r.Keystore.Due(ctx, keystore.Rotations, r.now(), dueBatch); err == nil {
		_, more, err = r.forEach(ctx, keystore.Rotations, names, r.advanceOne)
	}
	return more, errors.Join(failed, err)
}

func (r *Rotator) advanceOne(ctx context.Context, name string) error {
	before, content, altered := r.readRecord(ctx, name)
	if altered == nil && content == nil { // the record was removed by hand
		return r.setDue(ctx, keystore.Rotations, name, 0)
	}
	if altered != nil && !errors.Is(altered, errAltered) {
		return altered
	}
	record, err := r.advance(ctx, name, false)              // replaces an altered record
	if err == nil && record.NextCheck == before.NextCheck { // only the index is wrong, for example after a write that failed
		err = r.setDue(ctx, keystore.Rotations, name, record.NextCheck)
	}
	return errors.Join(altered, err)
}

// forEach calls do for each name. A name whose call fails becomes due again after a minute, and does not delay the
// others.
func (r *Rotator) forEach(
	ctx context.Context, kind keystore.Kind, names []string, do func(ctx context.Context, name string) error,
) (failed int, more bool, err error) {
	more = len(names) > 0
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // other processes have the same names
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
		if e := r.setDue(ctx, kind, name, r.now()+retryAfter); e != nil {
			more = false
		}
	}
	return failed, more, err
}

func ofTenant(tenant string, err error) error { return fmt.Errorf("tenant %q: %w", tenant, err) }

// setDue changes the due time of a document and keeps its content. If the document does not exist, setDue removes its
// due time.
func (r *Rotator) setDue(ctx context.Context, kind keystore.Kind, name string, due int64) error {
	content, err := r.Keystore.Get(ctx, kind, name)
	if err == nil {
		_, err = keystore.Replace(ctx, r.Keystore, kind, name, content, content, due)
	}
	return err
}
