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

// Line is a line of a tenant's roots.
type Line = [envelope.LineSize]byte

// Endings says which tenants were shredded and which keys destroyed, so that no earlier backup brings them back. The zero Endings
// has none.
type Endings struct {
	Tenants map[string]bool                  // shredded as a whole, whatever a backup has of them
	Lines   map[string]map[Line]bool         // shredded, by tenant
	Keys    map[string]map[format.KeyID]bool // destroyed, by tenant
}

// AddTenant adds a tenant that was shredded at a time that is not known: whatever the backup has of it is shredded.
func (e *Endings) AddTenant(id string) {
	if e.Tenants == nil {
		e.Tenants = map[string]bool{}
	}
	e.Tenants[id] = true
}

// AddLog adds what the audit log at a path says, whose key is given. It adds nothing of a log that was altered, and returns
// audit.ErrAltered: otherwise a writer of its files could have any key destroyed.
func (e *Endings) AddLog(ctx context.Context, path string, key *audit.Key) error {
	return e.add(func(found func(*audit.Line)) error { return audit.Each(ctx, path, key, &administration, found) })
}

// AddUnprovenLog adds what one file of an audit log says, whoever wrote it.
func (e *Endings) AddUnprovenLog(ctx context.Context, path string) error {
	return e.add(func(found func(*audit.Line)) error { return audit.EachUnproven(ctx, path, &administration, found) })
}

// administration leaves out what goes on all day.
var administration = audit.Filter{Severity: audit.Notice}

func (e *Endings) add(each func(found func(*audit.Line)) error) error {
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
	slices.SortStableFunc(all, func(a, b audit.Line) int { return strings.Compare(a.Time, b.Time) }) // of several chains
	for _, l := range audit.Announced(all) {
		ids := l.KeyID // of a request that names none, or whose key has an event of its own, it is empty
		if l.Action == shred {
			ids = l.Facts["from"]
		}
		for text := range strings.FieldsSeq(ids) {
			switch id, err := hex.DecodeString(text); {
			case err != nil:
			case l.Action == shred && len(id) == envelope.LineSize:
				put(&e.Lines, l.Tenant, Line(id))
			case l.Action == destroy && len(id) == format.KeyIDSize:
				put(&e.Keys, l.Tenant, format.KeyID(id))
			}
		}
	}
	return nil
}

func put[ID comparable](sets *map[string]map[ID]bool, tenant string, id ID) {
	if *sets == nil {
		*sets = map[string]map[ID]bool{}
	}
	if (*sets)[tenant] == nil {
		(*sets)[tenant] = map[ID]bool{}
	}
	(*sets)[tenant][id] = true
}

// of returns what of a document has ended and is alive in it: lines that were shredded, and keys of other lines that were destroyed.
func (e *Endings) of(d *envelope.Document) (ends keyring.Ends, ended Ended) {
	ends.Keys, ended.Tenant = map[format.KeyID]bool{}, d.Owner
	for _, line := range d.Lines() {
		if e.Tenants[d.Owner] || e.Lines[d.Owner][line] {
			ends.Lines, ended.Shredded = append(ends.Lines, line), true
		}
	}
	for i := range d.Keysets {
		s := &d.Keysets[i]
		for _, k := range s.Keys {
			if k.State == envelope.Destroyed || !e.Keys[d.Owner][k.ID] || slices.Contains(ends.Lines, k.Root.Line) {
				continue
			}
			ends.Keys[k.ID] = true
			if ended.Keys++; k.ID == s.Primary() {
				ended.Primaries++
			}
		}
	}
	return ends, ended
}
