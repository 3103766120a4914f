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

// errConcurrentChange reports that another process changed the keysets, or has the lease of the part.
var errConcurrentChange = &codes.Error{ErrorCode: "precondition_failed", Message: "another process changed the tenant's keys or works on the sweep"}

// errAltered reports a record or a sweep that does not authenticate. The next change replaces it. A new record waits
// for two later sweeps, so no key is destroyed too early.
var errAltered = &codes.Error{ErrorCode: "store_unavailable", Message: "a rotation's record or the sweep is damaged or was altered: a server starts it again"}

// Record returns a tenant's current or last rotation, or nil if there is none.
func (r *Rotator) Record(ctx context.Context, tenant string) (*Record, error) {
	record, content, err := r.readRecord(ctx, tenant)
	if err != nil || content == nil {
		return nil, err
	}
	sweep, err := r.CurrentSweep(ctx)
	if err != nil {
		return nil, err
	}
	return record.derive(sweep, r.now()), nil
}

// Records returns the rotations of all tenants, in no particular order. It skips damaged records.
func (r *Rotator) Records(ctx context.Context) (all []*Record, err error) {
	sweep, err := r.CurrentSweep(ctx)
	if err != nil {
		return nil, err
	}
	for document, err := range keystore.All(ctx, r.Keystore, keystore.Rotations) {
		if err != nil && document.Err == nil {
			return nil, err
		}
		if record, err := r.parseRecord(ctx, document.Name, document.Content); err == nil && record.derive(sweep, r.now()).State != Idle {
			all = append(all, record)
		}
	}
	return all, nil
}

// derive sets the state and the next check of a record, as of the time now.
func (r *Record) derive(sweep *Sweep, now int64) *Record {
	d := decide(r, sweep, now)
	r.State, r.NextCheck = d.state, d.nextCheck
	return r
}

// readRecord returns a tenant's record and its stored content, which is nil if there is none. If the content was
// altered, it returns errAltered with a new record that is due at once.
func (r *Rotator) readRecord(ctx context.Context, tenant string) (*Record, []byte, error) {
	content, err := r.Keystore.Get(ctx, keystore.Rotations, tenant)
	if err != nil || content == nil {
		return &Record{Tenant: tenant}, nil, err
	}
	record, err := r.parseRecord(ctx, tenant, content)
	if errors.Is(err, errAltered) {
		record = &Record{Tenant: tenant, NextCheck: r.now()} // its replacement is checked soon
	}
	return record, content, err
}

func (r *Rotator) parseRecord(ctx context.Context, tenant string, content []byte) (*Record, error) {
	record := &Record{}
	err := r.decodeWithMAC(ctx, keystore.Rotations, tenant, content, record)
	if err == nil && record.Tenant != tenant {
		err = fmt.Errorf("rotation: %s belongs to another tenant: %w", r.Keystore.Location(keystore.Rotations, tenant), errAltered)
	}
	return record, err
}

// encodeWithMAC encodes a document with its MAC. Without the MAC, anyone with write access to the store could decide
// which key is destroyed or which caller the audit log names.
func (r *Rotator) encodeWithMAC(ctx context.Context, kind keystore.Kind, name string, document any) ([]byte, error) {
	text, _ := json.Marshal(document) // never fails: the document has only strings and numbers
	mac, err := r.Keyring.SignState(ctx, macMessage(kind, name, text))
	return append(append(text, '\n'), hex.EncodeToString(mac)...), err
}

// decodeWithMAC verifies and decodes a document of encodeWithMAC. It returns errAltered if the MAC is wrong.
func (r *Rotator) decodeWithMAC(ctx context.Context, kind keystore.Kind, name string, content []byte, document any) error {
	text, digits, _ := bytes.Cut(content, []byte("\n"))
	mac, err := hex.DecodeString(string(digits))
	authentic := false
	if err == nil {
		if authentic, err = r.Keyring.VerifyState(ctx, macMessage(kind, name, text), mac); err != nil {
			return err
		}
	}
	if !authentic || json.Unmarshal(text, document) != nil {
		return fmt.Errorf("rotation: %s: %w", r.Keystore.Location(kind, name), errAltered)
	}
	return nil
}

// macMessage returns the message that a document's MAC authenticates.
func macMessage(kind keystore.Kind, name string, text []byte) []byte {
	return fmt.Appendf(nil, "%s %q %s", kind, name, text)
}

// editRecord changes a tenant's record. If another process changes it in the meantime, editRecord reads the record and
// calls change again. If change returns an error, nothing is written.
func (r *Rotator) editRecord(ctx context.Context, tenant string, change func(record *Record) error) (*Record, error) {
	read := func() (*Record, []byte, error) { return r.readRecord(ctx, tenant) }
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
		content, err := r.encodeWithMAC(ctx, kind, name, now)
		if err != nil || bytes.Equal(content, old) {
			return now, err
		}
		swapped, err := keystore.Replace(ctx, r.Keystore, kind, name, old, content, due(now))
		if err != nil || swapped {
			return now, err
		}
	}
}

// sweepName is the name of the only document of the kind Sweeps.
const sweepName = "sweep"

// CurrentSweep returns the sweep that is running or was the last. Its number is 0 before the first sweep.
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
	if err = r.decodeWithMAC(ctx, keystore.Sweeps, sweepName, content, sweep); errors.Is(err, errAltered) {
		sweep = &Sweep{States: map[State]int{}}
	}
	return sweep, content, err
}

// editSweep changes the sweep as editRecord changes a record.
func (r *Rotator) editSweep(ctx context.Context, change func(s *Sweep) error) (*Sweep, error) {
	read := func() (*Sweep, []byte, error) { return r.readSweep(ctx) }
	return editDocument(ctx, r, keystore.Sweeps, sweepName, read, change, func(*Sweep) int64 { return 0 })
}

// editPart changes a part of a sweep. It returns errConcurrentChange if this process does not hold the part anymore.
func (r *Rotator) editPart(ctx context.Context, number uint64, name string, change func(s *Sweep, p *sweepPart)) (*Sweep, error) {
	return r.editSweep(ctx, func(s *Sweep) error {
		p := s.findPart(name)
		if s.Number != number || !s.Running() || p == nil || p.Done || p.Holder != r.id {
			return errConcurrentChange
		}
		p.Heartbeat++
		change(s, p)
		return nil
	})
}
