package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/codes"
)

// errMoved reports that another process continued.
var errMoved = &codes.Error{Of: "precondition_failed", Text: "another process changed the tenant's keys, or works on the sweep, in the meantime"}

// Record returns a tenant's current or last rotation, or nil.
func (r *Rotator) Record(ctx context.Context, tenant string) (*Record, error) {
	record, content, err := r.read(ctx, tenant)
	if err != nil || content == nil {
		return nil, err
	}
	sweep, err := r.Sweep(ctx)
	if err != nil {
		return nil, err
	}
	return record.at(sweep, r.now()), nil
}

// Records returns the rotations of all tenants of this environment, in no order. It skips damaged records.
func (r *Rotator) Records(ctx context.Context) (all []*Record, err error) {
	sweep, err := r.Sweep(ctx)
	if err != nil {
		return nil, err
	}
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, err
		}
		if record, err := r.parse(document.Content); err == nil && record.at(sweep, r.now()).State != Idle {
			all = append(all, record)
		}
	}
	return all, nil
}

// at derives what a record says at a time.
func (r *Record) at(sweep *Sweep, now int64) *Record {
	n := decide(r, sweep, now)
	r.State, r.Next = n.state, n.next
	return r
}

// read returns a tenant's record as it is stored. Its content is nil if there is none.
func (r *Rotator) read(ctx context.Context, tenant string) (*Record, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err != nil || content == nil {
		return &Record{Tenant: tenant, Environment: r.Environment}, nil, err
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

// edit changes a tenant's record, again while other processes change it in between. An error of change changes nothing.
func (r *Rotator) edit(ctx context.Context, tenant string, change func(record *Record) error) (*Record, error) {
	read := func() (*Record, []byte, error) { return r.read(ctx, tenant) }
	return editDocument(ctx, r.Keystore, keystore.Rotations, tenant, read, change, func(record *Record) int64 { return record.Next })
}

func editDocument[T any](
	ctx context.Context, store keystore.Store, kind keystore.Kind, name string, read func() (*T, []byte, error), change func(*T) error, due func(*T) int64,
) (*T, error) {
	for {
		now, old, err := read()
		if err == nil {
			err = change(now)
		}
		if err != nil {
			return now, err
		}
		content, _ := json.Marshal(now) // cannot fail: texts and numbers only
		if bytes.Equal(content, old) {
			return now, nil
		}
		swapped, err := keystore.Replace(ctx, store, kind, name, old, content, due(now))
		if err != nil || swapped {
			return now, err
		}
	}
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
	read := func() (*Sweep, []byte, error) { return r.readSweep(ctx) }
	return editDocument(ctx, r.Keystore, keystore.Sweeps, r.sweepName(), read, change, func(*Sweep) int64 { return 0 })
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
