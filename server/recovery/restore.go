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
type Restored struct {
	Created   time.Time // the backup
	Changes   []Change  // by tenant; tenants that stay as they are have none
	Unchanged int       // tenants
	Ended     []Ended   // by tenant
	Failures  []Failure
}

// Ended is what of a tenant has ended since the backup, by the audit log or a list, and stays so.
type Ended struct {
	Tenant   string
	Shredded bool
	Keys     int // that were destroyed, if the tenant was not shredded; servers replace those that sealed within a minute
}

// Change is what a restore brings a tenant.
type Change struct {
	Tenant    string
	New       bool // it was not in the store
	Added     int  // slots and keys that it did not have
	Destroyed int  // slots and keys that it had, and the backup or a shredding has destroyed
	Primaries int  // uses and classes whose primary is another now
}

// Restore merges a backup into the store. It reads the file twice: nothing is changed before it is found whole. Tenants that were
// shredded since the backup are restored as shredded, and keys that were destroyed as destroyed; nil ends nothing. With dry it
// changes nothing. It returns ErrBackup, ErrEnvironment, kms.ErrWrongKey or ErrAbsent before anything is changed. A tenant whose keyset cannot be read or was altered, in the store or in the backup, is left, and is among
// the Failures; so is one of which something is alive in the store that has ended: the ending came to nothing, or the store went back
// to an earlier state, and the operator has not said that it is to be ended.
func (r *Recovery) Restore(ctx context.Context, file io.ReadSeeker, endings *Endings, dry bool) (*Restored, error) {
	if endings == nil {
		endings = &Endings{}
	}
	absent := maps.Clone(endings.Tenants)
	created, tenants, err := r.verify(ctx, file, func(owner string) { delete(absent, owner) })
	if err != nil {
		return nil, err
	}
	if len(absent) > 0 {
		return nil, fmt.Errorf("recovery: %q: %w", slices.Sorted(maps.Keys(absent)), ErrAbsent)
	}
	restored, ring := &Restored{Created: created}, r.Ring
	if dry {
		if ring, err = r.dryRing(); err != nil {
			return nil, err
		}
		defer ring.Close()
	} else if err := r.record(ctx, audit.BackupRestore, audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
		return nil, err
	}
	restored.Failures, err = r.each(ctx, documents(file), tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		ends, ended := endings.of(d)
		before, after, err := ring.Merge(ctx, d, ends)
		if err != nil || d.Owner == "" {
			return nil, err
		}
		return func() { restored.note(compare(before, after), ended) }, nil
	})
	slices.SortFunc(restored.Changes, func(a, b Change) int { return cmp.Compare(a.Tenant, b.Tenant) })
	slices.SortFunc(restored.Ended, func(a, b Ended) int { return cmp.Compare(a.Tenant, b.Tenant) })
	if dry {
		return restored, err
	}
	return restored, r.ended(ctx, audit.BackupRestore, len(restored.Changes), len(restored.Failures), err)
}

// System returns the environment's own keys. If the store has none, they are those of a backup, which with restore are written to the
// store; nil if the backup has none either. It writes nothing before the backup is found whole. The caller calls free after the last
// use of the keys.
func (r *Recovery) System(ctx context.Context, file io.ReadSeeker, restore bool) (own *keyring.System, free func(), err error) {
	ring, free := r.Ring, func() {}
	if own, err = ring.FindSystem(ctx); err != nil || own != nil {
		return own, free, err
	}
	if _, _, err = r.verify(ctx, file, func(string) {}); err == nil && !restore {
		if ring, err = r.dryRing(); err == nil {
			free = ring.Close
		}
	}
	if err != nil {
		return nil, free, err
	}
	for d, unread := range documents(file) {
		if err = unread; err == nil && d.Owner == "" {
			_, _, err = ring.Merge(ctx, d, keyring.Ends{})
		}
		break // it is the first, if there is one
	}
	if err == nil {
		own, err = ring.FindSystem(ctx)
	}
	if err != nil {
		free()
	}
	return own, free, err
}

// note adds what became of a tenant.
func (r *Restored) note(c Change, e Ended) {
	if e.Shredded || e.Keys > 0 {
		r.Ended = append(r.Ended, e)
	}
	if c == (Change{Tenant: c.Tenant}) {
		r.Unchanged++
	} else {
		r.Changes = append(r.Changes, c)
	}
}

// living returns the ids of the slots, and of the keys that are not destroyed.
func living(d *envelope.Document) map[string]bool {
	ids := map[string]bool{}
	for i := range d.Slots {
		ids[string(d.Slots[i].ID[:])] = true
	}
	for _, set := range d.Keysets {
		for _, k := range set.Keys {
			if k.State != envelope.Destroyed {
				ids[string(k.ID[:])] = true
			}
		}
	}
	return ids
}

// compare returns what a merge changed.
func compare(before, after *envelope.Document) Change {
	c := Change{Tenant: after.Owner, New: before == nil}
	if c.New {
		before = &envelope.Document{}
	}
	had, has := living(before), living(after)
	for id := range has {
		if !had[id] {
			c.Added++
		}
	}
	for id := range had {
		if !has[id] {
			c.Destroyed++
		}
	}
	for _, set := range after.Keysets {
		if was := before.Keyset(set.Use, set.Class); was != nil && was.Primary() != set.Primary() {
			c.Primaries++
		}
	}
	return c
}

// dryRing returns a keyring that changes nothing.
func (r *Recovery) dryRing() (*keyring.Keyring, error) {
	return keyring.New(&dryStore{Store: r.Store}, r.KEKs, r.Environment)
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
