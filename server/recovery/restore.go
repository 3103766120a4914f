package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Restored is what a restore did, or would do.
type Restored struct {
	Created   time.Time // the backup
	Changes   []Change  // by tenant; tenants that stay as they are have none
	Unchanged int       // tenants
	Honoured  []string  // tenants whose shredding came from the audit log or a list
	Destroyed []Destroyed
	Absent    []string // tenants of the list that the backup does not have
	Failures  []Failure
}

// Destroyed is how many keys of a tenant that was not shredded were destroyed since the backup by what the
// audit log says, and stay so.
type Destroyed struct {
	Tenant    string
	Keys      int
	Primaries int // of these, that were the ones that seal by the backup: nothing seals for their use and class until a rotation makes others
}

// Change is what a restore brings a tenant.
type Change struct {
	Tenant    string
	New       bool // it was not in the store
	Slots     int  // that it did not have
	Keys      int  // that it did not have
	Destroyed int  // slots and keys that it had, and the backup or a shredding has destroyed
	Primaries int  // uses and classes whose primary is another now
}

// Restore merges a backup into the store. Tenants that were shredded since the backup are restored as
// shredded, and keys that were destroyed as destroyed; nil is none. With dry it changes nothing. It returns
// ErrBackup, ErrEnvironment, kms.ErrWrongKey or ErrAbsent before anything is changed; with the last, the
// Restored names the ids. A tenant whose keyset in the store cannot be read is left, and is among the
// Failures.
func (r *Recovery) Restore(ctx context.Context, file []byte, endings *Endings, dry bool) (*Restored, error) {
	b, err := r.open(ctx, file)
	if err != nil {
		return nil, err
	}
	if endings == nil {
		endings = &Endings{}
	}
	restored := &Restored{Created: b.created}
	all := map[string]*honoured{}
	for _, d := range b.documents {
		all[d.Owner] = endings.honour(d)
	}
	if restored.Absent = endings.absent(b.documents); len(restored.Absent) > 0 {
		return restored, fmt.Errorf("recovery: %d ids: %w", len(restored.Absent), ErrAbsent)
	}
	if !dry {
		if err := r.record(ctx, audit.BackupRestore, "", audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
			return nil, err
		}
	}
	changes := make(chan Change, len(b.documents))
	restored.Failures, err = each(ctx, r, b.documents, func(d *envelope.Document) string { return d.Owner }, func(ctx context.Context, d *envelope.Document) error {
		if err := r.notAlive(ctx, d.Owner, all[d.Owner].ids); err != nil {
			return err
		}
		merge := r.Ring.Merge
		if dry {
			merge = r.merged
		}
		before, after, err := merge(ctx, d)
		if err == nil {
			changes <- compare(before, after)
		}
		return err
	})
	close(changes)
	for _, f := range restored.Failures {
		delete(all, f.Tenant)
	}
	restored.tell(all)
	for c := range changes {
		if c == (Change{Tenant: c.Tenant}) {
			restored.Unchanged++
		} else {
			restored.Changes = append(restored.Changes, c)
		}
	}
	slices.SortFunc(restored.Changes, func(a, b Change) int { return strings.Compare(a.Tenant, b.Tenant) })
	if err == nil && len(restored.Failures) > 0 {
		err = fmt.Errorf("recovery: %d tenants were not restored: %w", len(restored.Failures), restored.Failures[0].Err)
	}
	if dry {
		return restored, err
	}
	return restored, r.ended(ctx, audit.BackupRestore, len(restored.Changes), len(restored.Failures), err)
}

// tell says what was honoured.
func (r *Restored) tell(all map[string]*honoured) {
	for _, id := range slices.Sorted(maps.Keys(all)) {
		switch h := all[id]; {
		case h.shredded:
			r.Honoured = append(r.Honoured, id)
		case h.keys > 0:
			r.Destroyed = append(r.Destroyed, Destroyed{id, h.keys, h.primaries})
		}
	}
}

// absent gives the tenants that were added without a time and that no document is of: their ids may be misspelt.
func (e *Endings) absent(documents []*envelope.Document) (ids []string) {
	for id, at := range e.Tenants {
		if at == format.MaxTime && !slices.ContainsFunc(documents, func(d *envelope.Document) bool { return d.Owner == id }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// honoured is what a tenant's document had that was ended since.
type honoured struct {
	ids             map[string]bool // of slots and keys
	shredded        bool            // some of it with the tenant
	keys, primaries int             // of the rest
}

// honour shreds what a tenant had until it was shredded, and destroys the keys that were destroyed.
func (e *Endings) honour(d *envelope.Document) *honoured {
	h := &honoured{ids: living(d)}
	n := len(h.ids)
	if at, ok := e.Tenants[d.Owner]; ok {
		d.ShredUntil(at)
	}
	whole := living(d)
	h.shredded = len(whole) < n
	d.DestroyKeys(e.Keys[d.Owner])
	left := living(d)
	h.keys = len(whole) - len(left)
	for _, s := range d.Keysets {
		if whole[string(s.Primary[:])] && !left[string(s.Primary[:])] {
			h.primaries++
		}
	}
	maps.DeleteFunc(h.ids, func(id string, _ bool) bool { return left[id] })
	return h
}

// notAlive returns ErrAlive where a tenant's keyset in the store has something that was ended, by its id, as
// it was before: the shredding or destruction came to nothing, or the store was put back to an earlier state.
// Who restores a backup has not said that it is to be destroyed.
func (r *Recovery) notAlive(ctx context.Context, tenant string, ended map[string]bool) error {
	if len(ended) == 0 {
		return nil
	}
	d, err := r.Ring.Document(ctx, tenant)
	if errors.Is(err, keyring.ErrNoTenant) {
		return nil
	}
	if err != nil {
		return err
	}
	for id := range living(d) {
		if ended[id] {
			return ErrAlive
		}
	}
	return nil
}

// living gives the ids of the slots and keys that are not destroyed.
func living(d *envelope.Document) map[string]bool {
	ids := map[string]bool{}
	for i := range d.Slots {
		if s := &d.Slots[i]; s.State != envelope.Destroyed {
			ids[string(s.ID[:])] = true
		}
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

// merged is Keyring.Merge without a change.
func (r *Recovery) merged(ctx context.Context, from *envelope.Document) (before, after *envelope.Document, err error) {
	before, err = r.Ring.Document(ctx, from.Owner)
	if errors.Is(err, keyring.ErrNoTenant) {
		return nil, from, nil
	}
	if err == nil {
		after, err = envelope.Restore(before, from)
	}
	return before, after, err
}

// compare says what a merge changed.
func compare(before, after *envelope.Document) Change {
	c := Change{Tenant: after.Owner, New: before == nil}
	if c.New {
		before = &envelope.Document{}
	}
	had, has := living(before), living(after)
	for id := range has {
		switch {
		case had[id]:
		case len(id) == len(envelope.Slot{}.ID):
			c.Slots++
		default:
			c.Keys++
		}
	}
	for id := range had {
		if !has[id] {
			c.Destroyed++
		}
	}
	for _, set := range after.Keysets {
		if was := before.Keyset(set.Use, set.Class); was != nil && was.Primary != set.Primary {
			c.Primaries++
		}
	}
	return c
}
