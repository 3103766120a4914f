package recovery

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/format"
)

// Endings says which tenants were shredded and which keys destroyed, so that no backup from before brings
// them back. The zero Endings is none.
type Endings struct {
	Tenants map[string]int64                 // when they were shredded last, in milliseconds since 1970
	Keys    map[string]map[format.KeyID]bool // that were destroyed, by tenant
}

// AddTenant adds a tenant that was shredded at a time that is not known: whatever the backup has of it is shredded.
func (e *Endings) AddTenant(id string) { e.shredded(id, format.MaxTime) }

// AddLog adds what the audit log at a path says, whose key is given. Of a log that is not as it was written
// it adds nothing, and returns audit.ErrAltered:
// who can write to a file could have any key destroyed by it.
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
	var all []audit.Line
	err := each(func(l *audit.Line) {
		if l.Action == audit.TenantShred.String() || l.Action == audit.KeyDestroy.String() {
			all = append(all, *l)
		}
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b audit.Line) int { return strings.Compare(a.Time, b.Time) }) // of several chains
	for _, l := range audit.Announced(all) {
		if l.Action == audit.TenantShred.String() {
			e.shredded(l.Tenant, max(milliseconds(l.Time), milliseconds(l.Facts["to"])))
		} else if id, ok := keyID(l.KeyID); ok { // one of who asked names none, or is of what has an event of its own
			e.destroyed(l.Tenant, id)
		}
	}
	return nil
}

func (e *Endings) shredded(tenant string, at int64) {
	if e.Tenants == nil {
		e.Tenants = map[string]int64{}
	}
	e.Tenants[tenant] = max(e.Tenants[tenant], at)
}

func (e *Endings) destroyed(tenant string, id format.KeyID) {
	if e.Keys == nil {
		e.Keys = map[string]map[format.KeyID]bool{}
	}
	if e.Keys[tenant] == nil {
		e.Keys[tenant] = map[format.KeyID]bool{}
	}
	e.Keys[tenant][id] = true
}

func keyID(text string) (id format.KeyID, ok bool) {
	b, err := hex.DecodeString(text)
	return id, err == nil && copy(id[:], b) == len(id) && len(b) == len(id)
}

// milliseconds reads a time of the log; 0 where there is none.
func milliseconds(text string) int64 {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}
