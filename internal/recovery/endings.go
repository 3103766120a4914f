package recovery

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Endings says which tenants were shredded and which keys destroyed, so that no earlier backup brings them back. The zero Endings
// has none.
type Tombstones struct {
	Tenants map[string]bool // shredded as a whole, whatever a backup has of them
	IDs     map[ID]bool     // of lines of roots that were shredded, and of keys that were destroyed
}

// ID names a line of roots or a key of a tenant, in hexadecimal.
type ID struct{ Tenant, Hex string }

// Has reports whether a line or key of a tenant has ended.
func (e *Tombstones) Has(tenant string, id []byte) bool {
	return e.IDs[ID{tenant, hex.EncodeToString(id)}]
}

// AddLog adds what the audit log at a path says, whose key is given. It adds nothing of a log that was altered, and returns
// audit.ErrAltered: otherwise a writer of its files could have any key destroyed.
func (e *Tombstones) AddLog(ctx context.Context, path string, key *audit.Key) error {
	return e.add(func(found func(*audit.Line)) error { return audit.ReadVerified(ctx, path, key, &administration, found) })
}

// AddUnprovenLog adds what one file of an audit log says, whoever wrote it.
func (e *Tombstones) AddUnprovenLog(ctx context.Context, path string) error {
	return e.add(func(found func(*audit.Line)) error {
		return audit.ReadUnverifiedFile(ctx, path, &administration, found)
	})
}

// administration leaves out what goes on all day.
var administration = audit.Filter{Severity: audit.Notice}

func (e *Tombstones) add(each func(found func(*audit.Line)) error) error {
	shred, destroy := audit.TenantShred.String(), audit.KeyDestroy.String()
	var all []audit.Line
	err := each(func(l *audit.Line) {
		if l.Action == shred || l.Action == destroy {
			all = append(all, *l)
		}
	})
	if err != nil {
		return err
	}
	for _, l := range audit.EffectiveChanges(all) {
		ids := l.KeyID // empty if a request names no key, or each key has an event of its own
		if l.Action == shred {
			ids = l.Facts["from"]
		}
		for id := range strings.FieldsSeq(strings.ToLower(ids)) {
			if e.IDs == nil {
				e.IDs = map[ID]bool{}
			}
			e.IDs[ID{l.Tenant, id}] = true
		}
	}
	return nil
}

// of returns what of a document has ended and is alive in it: lines that were shredded, and keys of other lines that were destroyed.
func (e *Tombstones) of(d *envelope.Document) (ends keyring.Tombstones, ended Destroyed) {
	ends.DestroyedKeys, ended.Tenant = map[format.KeyID]bool{}, d.Owner
	for _, line := range d.Lines() {
		if e.Tenants[d.Owner] || e.Has(d.Owner, line[:]) {
			ends.ShreddedLines, ended.Shredded = append(ends.ShreddedLines, line), true
		}
	}
	for _, s := range d.Keysets {
		for _, k := range s.Keys {
			if k.State != envelope.Destroyed && e.Has(d.Owner, k.ID[:]) && !slices.Contains(ends.ShreddedLines, k.Root.Line) {
				ends.DestroyedKeys[k.ID] = true
			}
		}
	}
	ended.Keys = len(ends.DestroyedKeys)
	return ends, ended
}
