package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
)

// errMoved reports that another process continued.
var errMoved = errors.New("rotation: another process went on")

// recheck is when a rotation that waits for a sweep, or failed, is looked at again, in milliseconds.
const (
	recheck = int64(3600_000)
	retry   = int64(60_000)
)

// Record returns a tenant's current or last rotation, or nil.
func (r *Rotator) Record(ctx context.Context, tenant string) (*Record, error) {
	record, _, err := r.read(ctx, tenant)
	return record, err
}

func (r *Rotator) read(ctx context.Context, tenant string) (*Record, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err != nil || content == nil {
		return nil, nil, err
	}
	record, err := r.parse(content)
	if errors.Is(err, keyring.ErrEnvironment) {
		return nil, nil, fmt.Errorf("rotation: %s: %w", r.Keystore.Where(keystore.Rotations, tenant), err)
	}
	if err != nil || record.Tenant != tenant {
		return nil, nil, fmt.Errorf("rotation: %s is damaged: remove it and rotate again: %w", r.Keystore.Where(keystore.Rotations, tenant), keystore.ErrUnavailable)
	}
	return record, content, nil
}

func (r *Rotator) parse(content []byte) (*Record, error) {
	record := &Record{}
	if err := json.Unmarshal(content, record); err != nil {
		return nil, err
	}
	if record.Environment != r.Environment {
		return nil, keyring.ErrEnvironment
	}
	return record, nil
}

// Records returns the rotations of all tenants of this environment, in no order. It skips damaged records.
func (r *Rotator) Records(ctx context.Context) (all []*Record, err error) {
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, err
		}
		if record, err := r.parse(document.Content); err == nil && record.State != Idle {
			all = append(all, record)
		}
	}
	return all, nil
}

// edit changes a tenant's record, again while other processes change it in between. An error of change changes nothing.
func (r *Rotator) edit(ctx context.Context, tenant string, change func(record *Record) error) (*Record, error) {
	for {
		record, old, err := r.read(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if record == nil {
			record = &Record{Tenant: tenant, Environment: r.Environment}
		}
		if err := change(record); err != nil {
			return record, err
		}
		content, _ := json.Marshal(record) // cannot fail: texts and numbers only
		if bytes.Equal(content, old) {
			return record, nil
		}
		swapped, err := keystore.Replace(ctx, r.Keystore, keystore.Rotations, tenant, old, content, record.Next)
		if err != nil || swapped {
			return record, err
		}
	}
}

// advance is edit for a caller that found the record in a state. It returns errMoved if the record is in another one.
func (r *Rotator) advance(ctx context.Context, was *Record, change func(record *Record)) (*Record, error) {
	return r.edit(ctx, was.Tenant, func(record *Record) error {
		if record.ID != was.ID || record.State != was.State {
			return errMoved
		}
		change(record)
		return nil
	})
}

// postpone moves the due time of a document that cannot be worked on now, so that it delays no other.
func (r *Rotator) postpone(ctx context.Context, kind keystore.Kind, name string, due int64) error {
	content, err := r.Keystore.Get(ctx, kind, name)
	if err == nil && content != nil {
		_, err = keystore.Replace(ctx, r.Keystore, kind, name, content, content, due)
	}
	return err
}

func (r *Rotator) sweepName() string { return "sweep of " + r.Environment }

// Sweep returns the sweep that is under way or was the last. Its number is 0 before the first sweep.
func (r *Rotator) Sweep(ctx context.Context) (*Sweep, error) {
	sweep, _, err := r.readSweep(ctx)
	return sweep, err
}

func (r *Rotator) readSweep(ctx context.Context) (*Sweep, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Sweeps, r.sweepName())
	if err != nil {
		return nil, nil, err
	}
	sweep := &Sweep{Room: -1, States: map[State]int{}}
	if content != nil && json.Unmarshal(content, sweep) != nil {
		return nil, nil, fmt.Errorf("rotation: %s is damaged: remove it: %w", r.Keystore.Where(keystore.Sweeps, r.sweepName()), keystore.ErrUnavailable)
	}
	return sweep, content, nil
}

// editSweep changes the sweep; see edit.
func (r *Rotator) editSweep(ctx context.Context, change func(s *Sweep) error) (*Sweep, error) {
	for {
		sweep, old, err := r.readSweep(ctx)
		if err != nil {
			return nil, err
		}
		if err := change(sweep); err != nil {
			return sweep, err
		}
		content, _ := json.Marshal(sweep) // cannot fail: texts and numbers only
		if bytes.Equal(content, old) {
			return sweep, nil
		}
		swapped, err := keystore.Replace(ctx, r.Keystore, keystore.Sweeps, r.sweepName(), old, content, 0)
		if err != nil || swapped {
			return sweep, err
		}
	}
}

// editPart changes a part of a sweep that this process holds. It returns errMoved if it does not hold it anymore.
func (r *Rotator) editPart(ctx context.Context, number uint64, name string, change func(s *Sweep, p *Part)) (*Sweep, error) {
	return r.editSweep(ctx, func(s *Sweep) error {
		p := s.part(name)
		if s.Number != number || !s.Running() || p == nil || p.Done || p.Holder != r.id {
			return errMoved
		}
		p.Beat++
		change(s, p)
		return nil
	})
}
