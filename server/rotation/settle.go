package rotation

import (
	"context"
	"errors"
	"slices"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// settle makes the changes of keysets that the record announces, whoever announced them, and gives the record
// as it is then; nil where there is none. Each change is bound to the keyset's epoch, or can be made again,
// so a process that was held up in between changes nothing more.
func (r *Rotator) settle(ctx context.Context, tenant string) (*Record, error) {
	for {
		record, err := r.Record(ctx, tenant)
		if err != nil || record == nil {
			return nil, err
		}
		switch record.State {
		case Rotating:
			err = r.rotate(ctx, record)
		case RollingBack:
			err = r.rollBack(ctx, record)
		case Disabling:
			err = r.retire(ctx, record, envelope.Disabled)
		case Destroying:
			err = r.retire(ctx, record, envelope.Destroyed)
		default:
			return record, nil
		}
		if err != nil && !errors.Is(err, errMoved) {
			return record, err
		}
	}
}

func (r *Rotator) rotate(ctx context.Context, record *Record) error {
	t, err := r.Ring.Tenant(ctx, record.Tenant)
	if err != nil {
		return err
	}
	for _, k := range record.Keysets {
		if k.Made {
			continue
		}
		primary, err := t.Rotate(ctx, k.Use, k.Class, func(s *envelope.Keyset) bool { return s.Epoch == k.Epoch })
		if err == nil {
			err = r.audit(ctx, audit.KeyRotate, k.By, record.Tenant, k.Class, ID(primary))
		}
		if err == nil && k.Compromised {
			err = r.compromise(ctx, record.Tenant, k)
		}
		if err != nil {
			return err
		}
	}
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	_, err = r.advance(ctx, record, func(record *Record) {
		record.State, record.Rotated = Reencrypting, r.now()
		for i := range record.Keysets {
			record.Keysets[i].Made = true
		}
		if record.Former = r.formerOf(d, record); len(record.Former) == 0 {
			record.State, record.Ended = Done, record.Rotated
		}
	})
	return err
}

// formerOf gives the former keys that there are now. Those that are in the record already go on as they are,
// and sooner where they became compromised.
func (r *Rotator) formerOf(d *envelope.Document, record *Record) (all []Former) {
	for _, key := range formerKeys(d) {
		f := Former{Key: key, By: record.By}
		if i := slices.IndexFunc(record.Former, func(f Former) bool { return f.Key == key }); i >= 0 {
			f = record.Former[i]
		}
		if f.Compromised = stateOf(d, key) == envelope.Compromised; f.Compromised && f.Stage != Idle {
			f.Due = min(f.Due, record.Rotated+r.Ring.TTL().Milliseconds())
		}
		all = append(all, f)
	}
	return all
}

// compromise marks the former keys of a keyset.
func (r *Rotator) compromise(ctx context.Context, tenant string, k Keyset) error {
	d, err := r.Ring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	s := d.Keyset(k.Use, k.Class)
	if s == nil {
		return nil
	}
	for i := range s.Keys {
		key := &s.Keys[i]
		if key.ID == s.Primary || key.State >= envelope.Compromised {
			continue
		}
		if err := r.audit(ctx, audit.KeyCompromised, k.By, tenant, k.Class, ID(key.ID)); err != nil {
			return err
		}
		if err := r.Ring.Advance(ctx, tenant, k.Use, k.Class, key.ID, envelope.Compromised); err != nil {
			return err
		}
	}
	return nil
}

// formerKeys gives the keys of the cache that something may be under and that are no primaries, of all
// classes: what an earlier rotation did not come to retire is this one's as well.
func formerKeys(d *envelope.Document) (all []Key) {
	for i := range d.Keysets {
		s := &d.Keysets[i]
		if s.Use != format.UseCache {
			continue
		}
		for j := range s.Keys {
			if key := &s.Keys[j]; key.ID != s.Primary && key.State != envelope.Destroyed {
				all = append(all, Key{s.Class, ID(key.ID)})
			}
		}
	}
	return all
}

func (r *Rotator) rollBack(ctx context.Context, record *Record) error {
	for _, k := range record.ways() {
		if err := r.audit(ctx, audit.KeyRollback, record.By, record.Tenant, k.Class, k.From); err != nil {
			return err
		}
		err := r.Ring.Rollback(ctx, record.Tenant, k.Use, k.Class, format.KeyID(k.From), func(s *envelope.Keyset) bool { return s.Epoch == k.Epoch+1 })
		if err != nil && !errors.Is(err, envelope.ErrKeyUnusable) { // a key that an operator disabled stays so
			return err
		}
	}
	_, err := r.advance(ctx, record, func(record *Record) {
		record.State, record.Ended, record.Cursor = RolledBack, r.now(), nil
	})
	return err
}

// retire moves the former keys of the cache on. A key that has become a primary again meanwhile is none of
// them any more.
func (r *Rotator) retire(ctx context.Context, record *Record, to envelope.State) error {
	d, err := r.Ring.Document(ctx, record.Tenant)
	if err != nil {
		return err
	}
	action := audit.KeyDestroy
	if to == envelope.Disabled {
		action = audit.KeyDisable
	}
	left := formerKeys(d)
	for _, k := range record.wave() {
		by := record.Former[record.index(k)].By
		if !slices.Contains(left, k) || to == envelope.Disabled && stateOf(d, k) != envelope.Enabled {
			continue // disabled, or compromised: that opens until it is destroyed
		}
		err := audit.Announce(ctx, r.Audit, audit.Change{
			Event: event(action, by, record.Tenant, k.Class, k.ID),
			Apply: func(ctx context.Context) error {
				return r.Ring.Advance(ctx, record.Tenant, format.UseCache, k.Class, format.KeyID(k.ID), to)
			},
			InEffect: func(ctx context.Context) (bool, error) {
				return r.Ring.HasAdvanced(ctx, record.Tenant, format.UseCache, k.Class, format.KeyID(k.ID), to)
			},
		})
		if errors.Is(err, audit.ErrUnavailable) || err != nil && !errors.Is(err, keyring.ErrInUse) && !errors.Is(err, envelope.ErrInvalid) {
			return err
		}
	}
	_, err = r.advance(ctx, record, func(record *Record) {
		wave := record.wave()
		record.Former = slices.DeleteFunc(record.Former, func(f Former) bool {
			return !slices.Contains(left, f.Key) || to == envelope.Destroyed && slices.Contains(wave, f.Key)
		})
		if to == envelope.Disabled {
			record.disabled(wave, r.now()+r.Ring.TTL().Milliseconds())
		}
		record.await(r.now())
	})
	return err
}

func stateOf(d *envelope.Document, k Key) envelope.State {
	if s := d.Keyset(format.UseCache, k.Class); s != nil {
		if key := keyOf(s, format.KeyID(k.ID)); key != nil {
			return key.State
		}
	}
	return envelope.Destroyed
}
