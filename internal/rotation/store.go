package rotation

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/codes"
)

// errMoved reports that another process continued.
var errMoved = &codes.Error{Of: "precondition_failed", Text: "another process changed the tenant's keys, or works on the sweep, in the meantime"}

// errAltered reports a record or a sweep that was not written by a server, or is damaged. The next change of it replaces it: a
// rotation waits for two more sweeps then, and destroys no key early.
var errAltered = &codes.Error{Of: "store_unavailable", Text: "a rotation's record, or the sweep, is damaged or was altered: a server begins it again"}

// Record returns a tenant's current or last rotation, or nil.
func (r *Rotator) Record(ctx context.Context, tenant string) (*Record, error) {
	record, content, err := r.read(ctx, tenant)
	if err != nil || content == nil {
		return nil, err
	}
	sweep, err := r.CurrentSweep(ctx)
	if err != nil {
		return nil, err
	}
	return record.at(sweep, r.now()), nil
}

// Records returns the rotations of all tenants, in no order. It skips damaged records.
func (r *Rotator) Records(ctx context.Context) (all []*Record, err error) {
	sweep, err := r.CurrentSweep(ctx)
	if err != nil {
		return nil, err
	}
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, err
		}
		if record, err := r.parse(ctx, document.Name, document.Content); err == nil && record.at(sweep, r.now()).State != Idle {
			all = append(all, record)
		}
	}
	return all, nil
}

// at derives what a record says at a time.
func (r *Record) at(sweep *Sweep, now int64) *Record {
	n := decide(r, sweep, now)
	r.State, r.NextCheck = n.state, n.next
	return r
}

// read returns a tenant's record as it is stored. Its content is nil if it does not exist. With errAltered it returns a new record, which is due.
func (r *Rotator) read(ctx context.Context, tenant string) (*Record, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err != nil || content == nil {
		return &Record{Tenant: tenant}, nil, err
	}
	record, err := r.parse(ctx, tenant, content)
	if errors.Is(err, errAltered) {
		record = &Record{Tenant: tenant, NextCheck: r.now()} // what replaces it is looked at soon
	}
	return record, content, err
}

func (r *Rotator) parse(ctx context.Context, tenant string, content []byte) (*Record, error) {
	record := &Record{}
	err := r.open(ctx, keystore.Rotations, tenant, content, record)
	if err == nil && record.Tenant != tenant {
		err = fmt.Errorf("rotation: %s is of another tenant: %w", r.Keystore.Location(keystore.Rotations, tenant), errAltered)
	}
	return record, err
}

// seal encodes a document with its MAC: somebody with write access to the store must not decide which key is destroyed, or
// which caller the audit log names.
func (r *Rotator) seal(ctx context.Context, kind keystore.Kind, name string, document any) ([]byte, error) {
	text, _ := json.Marshal(document) // cannot fail: texts and numbers only
	mac, err := r.Keyring.SignState(ctx, state(kind, name, text))
	return append(append(text, '\n'), hex.EncodeToString(mac)...), err
}

// open decodes what seal encoded.
func (r *Rotator) open(ctx context.Context, kind keystore.Kind, name string, content []byte, document any) error {
	text, digits, _ := bytes.Cut(content, []byte("\n"))
	mac, err := hex.DecodeString(string(digits))
	authentic := false
	if err == nil {
		if authentic, err = r.Keyring.VerifyState(ctx, state(kind, name, text), mac); err != nil {
			return err
		}
	}
	if !authentic || json.Unmarshal(text, document) != nil {
		return fmt.Errorf("rotation: %s: %w", r.Keystore.Location(kind, name), errAltered)
	}
	return nil
}

// state returns the message of a document's MAC.
func state(kind keystore.Kind, name string, text []byte) []byte {
	return fmt.Appendf(nil, "%s %q %s", kind, name, text)
}

// edit changes a tenant's record, again while other processes change it in between. An error of change changes nothing.
func (r *Rotator) edit(ctx context.Context, tenant string, change func(record *Record) error) (*Record, error) {
	read := func() (*Record, []byte, error) { return r.read(ctx, tenant) }
	return editDocument(ctx, r, keystore.Rotations, tenant, read, change, func(record *Record) int64 { return record.NextCheck })
}

func editDocument[T any](
	ctx context.Context, r *Rotator, kind keystore.Kind, name string, read func() (*T, []byte, error), change func(*T) error, due func(*T) int64,
) (*T, error) {
	for {
		now, old, err := read()
		if err == nil || errors.Is(err, errAltered) {
			err = change(now)
		}
		if err != nil {
			return now, err
		}
		content, err := r.seal(ctx, kind, name, now)
		if err != nil || bytes.Equal(content, old) {
			return now, err
		}
		swapped, err := keystore.Replace(ctx, r.Keystore, kind, name, old, content, due(now))
		if err != nil || swapped {
			return now, err
		}
	}
}

// sweepName is the name of the one document of kind Sweeps.
const sweepName = "sweep"

// Sweep returns the sweep that is under way or was the last. Its number is 0 before the first sweep.
func (r *Rotator) CurrentSweep(ctx context.Context) (*Sweep, error) {
	sweep, _, err := r.readSweep(ctx)
	return sweep, err
}

func (r *Rotator) readSweep(ctx context.Context) (*Sweep, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Sweeps, sweepName)
	if err != nil {
		return nil, nil, err
	}
	sweep := &Sweep{States: map[State]int{}}
	if content == nil {
		return sweep, nil, nil
	}
	if err = r.open(ctx, keystore.Sweeps, sweepName, content, sweep); errors.Is(err, errAltered) {
		sweep = &Sweep{States: map[State]int{}}
	}
	return sweep, content, err
}

// editSweep changes the sweep; see edit.
func (r *Rotator) editSweep(ctx context.Context, change func(s *Sweep) error) (*Sweep, error) {
	read := func() (*Sweep, []byte, error) { return r.readSweep(ctx) }
	return editDocument(ctx, r, keystore.Sweeps, sweepName, read, change, func(*Sweep) int64 { return 0 })
}

// editPart changes a part of a sweep that this process holds. It returns errMoved if it does not hold it anymore.
func (r *Rotator) editPart(ctx context.Context, number uint64, name string, change func(s *Sweep, p *Part)) (*Sweep, error) {
	return r.editSweep(ctx, func(s *Sweep) error {
		p := s.part(name)
		if s.Number != number || !s.Running() || p == nil || p.Done || p.Holder != r.id {
			return errMoved
		}
		p.Heartbeat++
		change(s, p)
		return nil
	})
}
