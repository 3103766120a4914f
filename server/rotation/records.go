package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// errMoved says that a record is another rotation's, or has come further, than its caller knows.
var errMoved = errors.New("rotation: another process went on")

// Record gives what is known of a tenant's last rotation, nil where there is nothing.
func (r *Rotator) Record(ctx context.Context, tenant string) (*Record, error) {
	record, _, err := r.read(ctx, tenant)
	return record, err
}

func (r *Rotator) read(ctx context.Context, tenant string) (*Record, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err != nil || content == nil {
		return nil, nil, err
	}
	record, err := parse(content)
	if errors.Is(err, envelope.ErrUnsupportedVersion) {
		return nil, nil, fmt.Errorf("rotation: %s: a later Coffer wrote it: update this one: %w", r.Keystore.Where(keystore.Rotations, tenant), err)
	}
	if err != nil || record.Tenant != tenant || record.Environment != r.Environment {
		return nil, nil, fmt.Errorf("rotation: %s is damaged, remove it and rotate again: %w", r.Keystore.Where(keystore.Rotations, tenant), keystore.ErrUnavailable)
	}
	return record, content, nil
}

func parse(content []byte) (*Record, error) {
	var of struct {
		Version int `json:"version"`
	}
	record := &Record{}
	err := json.Unmarshal(content, &of)
	if err == nil && of.Version > version {
		return nil, envelope.ErrUnsupportedVersion
	}
	if err == nil {
		err = json.Unmarshal(content, record)
	}
	switch {
	case err == nil && record.Version == version:
		return record, nil
	case err == nil && record.Version == 1:
		record.migrate()
		return record, nil
	}
	return nil, errors.New("not a record of a rotation")
}

// migrate makes a record of version 1 one of now.
func (r *Record) migrate() {
	r.Version = version
	stage, due := r.State, r.Next
	switch r.State {
	case Rotating, Reencrypting:
		stage, due = Idle, 0
	case Disabling:
		stage = FirstScan
	case Destroying:
		stage = SecondScan
	}
	for i := range r.Former {
		f := &r.Former[i]
		f.Compromised, f.Stage, f.Due = r.Compromised, stage, due
	}
	for i := range r.Keysets {
		k := &r.Keysets[i]
		k.Compromised, k.Made, k.Due = r.Compromised, r.State != Rotating, due
		k.Final = stage == SecondScan
	}
}

// Records gives what is known of the rotations of all tenants of this environment, in no order.
func (r *Rotator) Records(ctx context.Context) (all []*Record, err error) {
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil {
			return nil, err
		}
		if record, err := parse(document.Content); err == nil && record.Environment == r.Environment {
			all = append(all, record)
		}
	}
	return all, nil
}

// edit changes a tenant's record, again for as long as another process's change comes in between. An error of
// do changes nothing.
func (r *Rotator) edit(ctx context.Context, tenant string, do func(record *Record) error) (*Record, error) {
	for {
		record, old, err := r.read(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if record == nil {
			record = &Record{Version: version, Tenant: tenant, Environment: r.Environment}
		}
		if err := do(record); err != nil {
			return record, err
		}
		content, _ := json.Marshal(record) // cannot fail: texts and numbers only
		if bytes.Equal(content, old) {
			return record, nil
		}
		swapped, err := r.Keystore.Swap(ctx, keystore.Rotations, tenant, old, content, 0)
		if err != nil || swapped {
			return record, err
		}
	}
}

// advance is edit for who found the record in a state, and gives errMoved where it is in another one now.
func (r *Rotator) advance(ctx context.Context, was *Record, do func(record *Record)) (*Record, error) {
	return r.edit(ctx, was.Tenant, func(record *Record) error {
		if record.ID != was.ID || record.State != was.State {
			return errMoved
		}
		do(record)
		return nil
	})
}

func (r *Rotator) now() int64 { return r.Now().UnixMilli() }
