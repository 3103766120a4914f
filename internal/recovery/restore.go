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

// RestoreReport lists what a restore changed, or would change in a dry run.
type RestoreReport struct {
	Created   time.Time   // of the backup
	Changes   []Change    // ordered by tenant
	Unchanged int         // number of tenants that needed no change
	Destroyed []Destroyed // what tombstones kept from coming back, ordered by tenant
	Failures  []Failure
}

// Change is a tenant whose keyset a restore changes.
type Change struct {
	Tenant string
	New    bool // it was not in the store
}

// Restore merges a backup into the store. It verifies the whole file before it changes anything. Tenants and keys
// that tombstones marks are restored as shredded and destroyed; nil marks nothing. Restore returns keyring.ErrBackup,
// keyring.ErrWrongEnvironment, kms.ErrWrongKey or ErrUnknownTenants before it changes anything.
//
// A tenant is skipped, and is among the Failures, if its keyset in the store or in the backup cannot be read or was
// altered. It is also skipped if the store has usable keys that tombstones marks: either their destruction failed or
// the store returned to an earlier state, and the operator has to decide whether to destroy them.
func (r *Recovery) Restore(ctx context.Context, file io.ReadSeeker, tombstones *Tombstones) (*RestoreReport, error) {
	if tombstones == nil {
		tombstones = &Tombstones{}
	}
	backup, err := r.Keyring.OpenBackup(ctx, file)
	if err == nil {
		err = checkTenants(backup, tombstones.Tenants)
	}
	if err != nil {
		return nil, err
	}
	if err := r.record(ctx, audit.BackupRestore, audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
		return nil, err
	}
	report := &RestoreReport{Created: backup.CreatedAt}
	report.Failures, err = r.forEach(ctx, backup.Documents(), backup.Tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		matched, destroyed := tombstones.match(d)
		before, after, err := r.Keyring.RestoreDocument(ctx, d, matched)
		if err != nil || d.Owner == "" {
			return nil, err
		}
		return func() { report.add(before, after, destroyed) }, nil
	})
	slices.SortFunc(report.Changes, func(a, b Change) int { return cmp.Compare(a.Tenant, b.Tenant) })
	slices.SortFunc(report.Destroyed, func(a, b Destroyed) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return report, r.recordEnd(ctx, audit.BackupRestore, len(report.Changes), len(report.Failures), err)
}

// checkTenants returns ErrUnknownTenants if a tenant is not in a backup: its id is probably mistyped.
func checkTenants(backup *keyring.BackupFile, tenants map[string]bool) error {
	if len(tenants) == 0 {
		return nil
	}
	unknown := maps.Clone(tenants)
	for d, err := range backup.Documents() {
		if err != nil {
			return err
		}
		delete(unknown, d.Owner)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("recovery: %q: %w", slices.Sorted(maps.Keys(unknown)), ErrUnknownTenants)
	}
	return nil
}

// RecoverSystem returns the environment's own keys. If the store has no system document, it restores only that one
// from the backup, after the whole file was verified. It returns nil if neither has one.
func (r *Recovery) RecoverSystem(ctx context.Context, file io.ReadSeeker) (*keyring.System, error) {
	system, err := r.Keyring.FindSystem(ctx)
	if err != nil || system != nil {
		return system, err
	}
	backup, err := r.Keyring.OpenBackup(ctx, file)
	if err != nil {
		return nil, err
	}
	for d, err := range backup.Documents() {
		if err == nil && d.Owner == "" {
			_, _, err = r.Keyring.RestoreDocument(ctx, d, keyring.Tombstones{})
		}
		if err != nil {
			return nil, err
		}
		break // the system document is the first, if there is one
	}
	return r.Keyring.FindSystem(ctx)
}

// add adds the result for a tenant.
func (r *RestoreReport) add(before, after *envelope.Document, destroyed Destroyed) {
	if destroyed.Shredded || destroyed.Keys > 0 {
		r.Destroyed = append(r.Destroyed, destroyed)
	}
	if before != nil && maps.Equal(usableIDs(before), usableIDs(after)) {
		r.Unchanged++
	} else {
		r.Changes = append(r.Changes, Change{after.Owner, before == nil})
	}
}

// usableIDs returns the ids of the slots and of the keys that are not destroyed. The value is true for a primary.
func usableIDs(d *envelope.Document) map[string]bool {
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

// DryRun returns a Recovery that reads the same store and discards its writes and audit events. The caller closes its
// Keyring.
func (r *Recovery) DryRun() (*Recovery, error) {
	dry := *r
	dry.Store, dry.Audit = &dryStore{Store: r.Store}, audit.Discard
	var err error
	dry.Keyring, err = keyring.New(dry.Store, r.KEKs, r.Environment)
	return &dry, err
}

// dryStore discards writes, except of the system document: its keys verify the shred records of other documents.
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
