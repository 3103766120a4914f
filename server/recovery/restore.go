package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Restored is what a restore did, or would do.
type Restored struct {
	Created   time.Time // the backup
	Changes   []Change  // by tenant; tenants that stay as they are have none
	Unchanged int       // tenants
	Honoured  []string  // tenants whose shredding came from the audit log or a list
	Failures  []Failure
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

// Restore merges a backup into the store. Tenants that were shredded since the backup are restored as shredded. With dry it changes nothing. It returns
// ErrBackup, ErrEnvironment or kms.ErrWrongKey before anything is changed. A tenant whose keyset in the store cannot be read is left, and is among the
// Failures.
func (r *Recovery) Restore(ctx context.Context, file []byte, shredded Shreddings, dry bool) (*Restored, error) {
	b, err := r.open(ctx, file)
	if err != nil {
		return nil, err
	}
	restored := &Restored{Created: b.created}
	for _, d := range b.documents {
		if shredded.honour(d) {
			restored.Honoured = append(restored.Honoured, d.Owner)
		}
	}
	if !dry {
		if err := r.record(ctx, audit.BackupRestore, "", audit.Facts{audit.FactReason: "begin"}); err != nil {
			return nil, err
		}
	}
	changes := make(chan Change, len(b.documents))
	restored.Failures, err = each(ctx, r, b.documents, func(d *envelope.Document) string { return d.Owner }, func(ctx context.Context, d *envelope.Document) error {
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
	for c := range changes {
		if c == (Change{Tenant: c.Tenant}) {
			restored.Unchanged++
		} else {
			restored.Changes = append(restored.Changes, c)
		}
	}
	slices.SortFunc(restored.Changes, func(a, b Change) int { return strings.Compare(a.Tenant, b.Tenant) })
	if err == nil && len(restored.Failures) > 0 {
		err = fmt.Errorf("recovery: %d tenants were not restored: %w", len(restored.Failures), keyring.ErrUnreadable)
	}
	if dry {
		return restored, err
	}
	return restored, r.ended(ctx, audit.BackupRestore, len(b.documents)-len(restored.Failures), len(restored.Failures), err)
}

// honour shreds what a tenant had until it was shredded, and reports whether there was any.
func (s Shreddings) honour(d *envelope.Document) bool {
	at, ok := s[d.Owner]
	if !ok {
		return false
	}
	before := living(d)
	d.ShredUntil(at)
	return len(living(d)) != len(before)
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
