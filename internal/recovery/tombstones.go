package recovery

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Tombstones lists tenants that were shredded and keys that were destroyed, so that a restore does not bring them
// back. The zero value is empty.
type Tombstones struct {
	Tenants map[string]bool // shredded tenants: all of their roots
	IDs     map[ID]bool     // shredded lines of roots, and destroyed keys
}

// ID names a line of roots or a key of a tenant, in hexadecimal.
type ID struct{ Tenant, Hex string }

// Has reports whether a line of roots was shredded, or a key was destroyed.
func (t *Tombstones) Has(tenant string, id []byte) bool {
	return t.IDs[ID{tenant, hex.EncodeToString(id)}]
}

// AddLog adds the shreddings and destructions in the audit log at a path. If the log was altered, it adds nothing and
// returns audit.ErrAltered: otherwise anyone who can write the log's files could have keys destroyed.
func (t *Tombstones) AddLog(ctx context.Context, path string, key *audit.Key) error {
	return t.add(func(found func(*audit.Line)) error { return audit.ReadVerified(ctx, path, key, &atLeastNotice, found) })
}

// AddUnprovenLog adds the shreddings and destructions in one file of an audit log, without verifying the file.
func (t *Tombstones) AddUnprovenLog(ctx context.Context, path string) error {
	return t.add(func(found func(*audit.Line)) error {
		return audit.ReadUnverifiedFile(ctx, path, &atLeastNotice, found)
	})
}

// atLeastNotice skips the many events of everyday use.
var atLeastNotice = audit.Filter{Severity: audit.Notice}

func (t *Tombstones) add(read func(found func(*audit.Line)) error) error {
	shred, destroy := audit.TenantShred.String(), audit.KeyDestroy.String()
	var lines []audit.Line
	err := read(func(l *audit.Line) {
		if l.Action == shred || l.Action == destroy {
			lines = append(lines, *l)
		}
	})
	if err != nil {
		return err
	}
	for _, l := range audit.EffectiveChanges(lines) {
		ids := l.KeyID // empty if a request names no key, or each key has an event of its own
		if l.Action == shred {
			ids = l.Facts["from"]
		}
		for id := range strings.FieldsSeq(strings.ToLower(ids)) {
			if t.IDs == nil {
				t.IDs = map[ID]bool{}
			}
			t.IDs[ID{l.Tenant, id}] = true
		}
	}
	return nil
}

// Destroyed counts the roots and keys of a tenant that tombstones mark and that a document still has in a usable state.
type Destroyed struct {
	Tenant   string
	Shredded bool // some of the tenant's roots were shredded
	Keys     int  // destroyed keys under other roots; servers replace those that were primaries within a minute
}

// match returns the root lines and keys of d that are usable although a tombstone marks them. It omits keys under a
// shredded line.
func (t *Tombstones) match(d *envelope.Document) (matched keyring.Tombstones, destroyed Destroyed) {
	matched.DestroyedKeys, destroyed.Tenant = map[format.KeyID]bool{}, d.Owner
	for _, line := range d.Lines() {
		if t.Tenants[d.Owner] || t.Has(d.Owner, line[:]) {
			matched.ShreddedLines, destroyed.Shredded = append(matched.ShreddedLines, line), true
		}
	}
	for _, s := range d.Keysets {
		for _, k := range s.Keys {
			if k.State != envelope.Destroyed && t.Has(d.Owner, k.ID[:]) && !slices.Contains(matched.ShreddedLines, k.Root.Line) {
				matched.DestroyedKeys[k.ID] = true
			}
		}
	}
	destroyed.Keys = len(matched.DestroyedKeys)
	return matched, destroyed
}

// FindNotDestroyed returns, by tenant, the roots and keys in the store that are usable although tombstones mark them.
// The store may have returned to an earlier state, the destruction may have failed, or it may be in progress.
// FindNotDestroyed returns an error if a document cannot be read.
func (r *Recovery) FindNotDestroyed(ctx context.Context, tombstones *Tombstones) (found []Destroyed, err error) {
	for d, err := range r.Keyring.Documents(ctx) {
		if err != nil {
			return nil, err
		}
		if _, destroyed := tombstones.match(d); destroyed.Shredded || destroyed.Keys > 0 {
			found = append(found, destroyed)
		}
	}
	slices.SortFunc(found, func(a, b Destroyed) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return found, nil
}
