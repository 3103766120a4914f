package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
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

// Restore merges a backup into the store. It reads the file twice: nothing is changed before it is found whole. Tenants that were
// shredded since the backup are restored as shredded, and keys that were destroyed as destroyed; nil ends nothing. With dry it
// changes nothing. It returns ErrBackup, ErrEnvironment, kms.ErrWrongKey or ErrAbsent before anything is changed; with the last, the
// Restored names the ids. A tenant whose keyset cannot be read or was altered, in the store or in the backup, is left, and is among
// the Failures.
func (r *Recovery) Restore(ctx context.Context, file io.ReadSeeker, endings *Endings, dry bool) (*Restored, error) {
	if endings == nil {
		endings = &Endings{}
	}
	absent := maps.Clone(endings.Tenants)
	p, err := r.verify(ctx, file, func(owner string) { delete(absent, owner) })
	if err != nil {
		return nil, err
	}
	restored := &Restored{Created: p.created, Absent: slices.Sorted(maps.Keys(absent))}
	if len(restored.Absent) > 0 {
		return restored, fmt.Errorf("recovery: %d ids: %w", len(restored.Absent), ErrAbsent)
	}
	if !dry {
		if err := r.record(ctx, audit.BackupRestore, "", audit.Facts{audit.FactPhase: audit.PhaseBegin}); err != nil {
			return nil, err
		}
	}
	ring := r.Ring
	if dry {
		if ring, err = r.dryRing(); err != nil {
			return nil, err
		}
		defer ring.Close()
	}
	var mu sync.Mutex
	restore := func(ctx context.Context, d *envelope.Document) error {
		h := endings.honour(d)
		if err := notAlive(ctx, ring, d.Owner, h); err != nil {
			return err
		}
		before, after, err := ring.Merge(ctx, d, keyring.Ends{Lines: h.lines, Edit: func(d *envelope.Document) { d.DestroyKeys(h.keys) }})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		restored.note(d.Owner, h, compare(before, after))
		return nil
	}
	system := func(d *envelope.Document) error { return restore(ctx, d) }
	restored.Failures, err = each(ctx, r, afterSystem(documents(file), system), p.tenants, ownerOf, restore)
	restored.sort()
	if err == nil && len(restored.Failures) > 0 {
		err = fmt.Errorf("recovery: %d tenants were not restored: %w", len(restored.Failures), restored.Failures[0].Err)
	}
	if dry {
		return restored, err
	}
	return restored, r.ended(ctx, audit.BackupRestore, len(restored.Changes), len(restored.Failures), err)
}

// afterSystem yields the documents of tenants, whose shred records need the keys of the system document: that is done when it is met.
func afterSystem(all iter.Seq2[*envelope.Document, error], system func(*envelope.Document) error) iter.Seq2[*envelope.Document, error] {
	return func(yield func(*envelope.Document, error) bool) {
		for d, err := range all {
			if err == nil && d.Owner == "" {
				if err = system(d); err == nil {
					continue
				}
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// note adds what became of a document.
func (r *Restored) note(owner string, h *honoured, c Change) {
	if len(h.lines) > 0 {
		r.Honoured = append(r.Honoured, owner)
	} else if len(h.keys) > 0 {
		r.Destroyed = append(r.Destroyed, Destroyed{owner, len(h.keys), h.primaries})
	}
	switch {
	case owner == "": // the environment's own keys are no tenant's
	case c == (Change{Tenant: c.Tenant}):
		r.Unchanged++
	default:
		r.Changes = append(r.Changes, c)
	}
}

func (r *Restored) sort() {
	slices.Sort(r.Honoured)
	slices.SortFunc(r.Changes, func(a, b Change) int { return strings.Compare(a.Tenant, b.Tenant) })
	slices.SortFunc(r.Destroyed, func(a, b Destroyed) int { return strings.Compare(a.Tenant, b.Tenant) })
}

// honoured is what a tenant's document has alive that has ended since.
type honoured struct {
	lines     []Line // with keys or slots of it
	keys      map[format.KeyID]bool
	primaries int // of the keys
}

// honour finds what of a document has ended: the lines that were shredded, and the keys of others that were destroyed.
func (e *Endings) honour(d *envelope.Document) *honoured {
	h := &honoured{keys: map[format.KeyID]bool{}}
	for _, line := range d.Lines() {
		if e.Tenants[d.Owner] || slices.Contains(e.Lines[d.Owner], line) {
			h.lines = append(h.lines, line)
		}
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			if k.State == envelope.Destroyed || !e.Keys[d.Owner][k.ID] || slices.Contains(h.lines, k.Root.Line) {
				continue
			}
			h.keys[k.ID] = true
			if k.ID == s.Primary() {
				h.primaries++
			}
		}
	}
	return h
}

// notAlive returns ErrAlive if a tenant's keyset in the store has something alive that has ended by the log or list: the shredding
// or destruction came to nothing, or the store was put back to an earlier state.
// The operator who restores a backup has not said that it is to be destroyed.
func notAlive(ctx context.Context, ring *keyring.Keyring, owner string, h *honoured) error {
	if len(h.lines) == 0 && len(h.keys) == 0 {
		return nil
	}
	d, err := ring.OwnerDocument(ctx, owner)
	if errors.Is(err, keyring.ErrNoTenant) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, line := range d.Lines() {
		if slices.Contains(h.lines, line) {
			return ErrAlive
		}
	}
	for id := range living(d) {
		if len(id) == format.KeyIDSize && h.keys[format.KeyID([]byte(id))] {
			return ErrAlive
		}
	}
	return nil
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
		if was := before.Keyset(set.Use, set.Class); was != nil && was.Primary() != set.Primary() {
			c.Primaries++
		}
	}
	return c
}
