package recovery

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Restored is what a restore did, or would do.
type RestoreReport struct {
	Created   time.Time   // the backup
	Changes   []Change    // by tenant; tenants that stay as they are have none
	Unchanged int         // tenants
	Destroyed []Destroyed // by tenant
	Failures  []Failure
}

// Ended is what of a tenant has ended since the backup, by the audit log or a list, and stays so.
type Destroyed struct {
	Tenant   string
	Shredded bool
	Keys     int // that were destroyed, if the tenant was not shredded; servers replace those that sealed within a minute
}

// Change is a tenant whose keyset a restore changes.
type Change struct {
	Tenant string
	New    bool // it was not in the store
}

// Restore merges a backup into the store. It reads the file twice: nothing is changed before it is found whole. Tenants that were
// shredded since the backup are restored as shredded, and keys that were destroyed as destroyed; nil ends nothing. It returns
// ErrBackup, ErrEnvironment, kms.ErrWrongKey or ErrAbsent before anything is changed. A tenant whose keyset cannot be read or was
// altered, in the store or in the backup, is left, and is among the Failures; so is one of which something is alive in the store that
// has ended: the ending came to nothing, or the store went back to an earlier state, and the operator has not said that it is to be
// ended.
func (r *Recovery) Restore(ctx context.Context, file io.ReadSeeker, endings *Tombstones) (*RestoreReport, error) {
	if endings == nil {
		endings = &Tombstones{}
	}
	absent := maps.Clone(endings.Tenants)
	created, tenants, err := r.verify(ctx, file, func(owner string) { delete(absent, owner) })
	if err != nil {
		return nil, err
	}
	if len(absent) > 0 {
		return nil, fmt.Errorf("recovery: %q: %w", slices.Sorted(maps.Keys(absent)), ErrUnknownTenants)
	}
	if err := r.record(ctx, audit.BackupRestore, audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
		return nil, err
	}
	restored := &RestoreReport{Created: created}
	restored.Failures, err = r.each(ctx, documents(file), tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		ends, ended := endings.of(d)
		before, after, err := r.Keyring.RestoreDocument(ctx, d, ends)
		if err != nil || d.Owner == "" {
			return nil, err
		}
		return func() { restored.note(before, after, ended) }, nil
	})
	slices.SortFunc(restored.Changes, func(a, b Change) int { return cmp.Compare(a.Tenant, b.Tenant) })
	slices.SortFunc(restored.Destroyed, func(a, b Destroyed) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return restored, r.ended(ctx, audit.BackupRestore, len(restored.Changes), len(restored.Failures), err)
}

// System returns the environment's own keys. If the store lacks them, it writes those of a backup to the store first. It returns nil
// if both lack them. It writes nothing before the backup is found whole.
func (r *Recovery) RecoverSystem(ctx context.Context, file io.ReadSeeker) (*keyring.System, error) {
	own, err := r.Keyring.FindSystem(ctx)
	if err != nil || own != nil {
		return own, err
	}
	if _, _, err = r.verify(ctx, file, func(string) {}); err != nil {
		return nil, err
	}
	for d, err := range documents(file) {
		if err == nil && d.Owner == "" {
			_, _, err = r.Keyring.RestoreDocument(ctx, d, keyring.Tombstones{})
		}
		if err != nil {
			return nil, err
		}
		break // it is the first, if there is one
	}
	return r.Keyring.FindSystem(ctx)
}

// note adds what became of a tenant.
func (r *RestoreReport) note(before, after *envelope.Document, e Destroyed) {
	if e.Shredded || e.Keys > 0 {
		r.Destroyed = append(r.Destroyed, e)
	}
	if before != nil && maps.Equal(living(before), living(after)) {
		r.Unchanged++
	} else {
		r.Changes = append(r.Changes, Change{after.Owner, before == nil})
	}
}

// living returns the ids of the slots, and of the keys that are not destroyed, each with whether it is a primary.
func living(d *envelope.Document) map[string]bool {
	ids := map[string]bool{}
	for i := range d.Slots {
		ids[string(d.Slots[i].ID[:])] = false
	}
	for _, set := range d.Keysets {
		for _, k := range set.Keys {
			if k.State != envelope.Destroyed {
				ids[string(k.ID[:])] = k.ID == set.Primary()
			}
		}
	}
	return ids
}

// Dry returns a Recovery that sees the same store, and discards what it writes and records. The caller closes its Ring.
func (r *Recovery) DryRun() (*Recovery, error) {
	dry := *r
	dry.Store, dry.Audit = &dryStore{Store: r.Store}, audit.Discard
	var err error
	dry.Keyring, err = keyring.New(dry.Store, r.KEKs, r.Environment)
	return &dry, err
}

// dryStore discards what is written, except for the system document: the shred records of other documents need its keys.
type dryStore struct {
	keystore.Store
	system atomic.Pointer[[]byte] // nil if it was not written
}

// Get implements keystore.Store.
func (s *dryStore) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	if written := s.system.Load(); written != nil && kind == keystore.Keysets && name == "" {
		return *written, nil
	}
	return s.Store.Get(ctx, kind, name)
}

// Swap implements keystore.Store.
func (s *dryStore) Swap(_ context.Context, kind keystore.Kind, name string, _, document []byte, _ int64) (bool, error) {
	if kind == keystore.Keysets && name == "" {
		s.system.Store(&document)
	}
	return true, nil
}
