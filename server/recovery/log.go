package recovery

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Endings says which tenants were shredded and which keys destroyed, so that no backup from before brings
// them back. The zero Endings is none.
type Endings struct {
	Tenants map[string]bool                  // that were shredded as a whole, whatever a backup has of them
	Lines   map[string][]Line                // that were shredded, by tenant
	Keys    map[string]map[format.KeyID]bool // that were destroyed, by tenant
}

// AddTenant adds a tenant that was shredded at a time that is not known: whatever the backup has of it is shredded.
func (e *Endings) AddTenant(id string) {
	if e.Tenants == nil {
		e.Tenants = map[string]bool{}
	}
	e.Tenants[id] = true
}

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
			e.shredded(l.Tenant, parseLines(l.Facts["from"]))
		} else if id, ok := keyID(l.KeyID); ok { // one of who asked names none, or is of what has an event of its own
			e.destroyed(l.Tenant, id)
		}
	}
	return nil
}

func (e *Endings) shredded(tenant string, lines []Line) {
	if len(lines) == 0 {
		return
	}
	if e.Lines == nil {
		e.Lines = map[string][]Line{}
	}
	e.Lines[tenant] = append(e.Lines[tenant], lines...)
}

// Line is a line of a tenant's roots.
type Line = [envelope.LineSize]byte

// lineText writes lines for the audit log.
func lineText(lines []Line) string {
	texts := make([]string, len(lines))
	for i, line := range lines {
		texts[i] = hex.EncodeToString(line[:])
	}
	return strings.Join(texts, " ")
}

func parseLines(text string) (lines []Line) {
	for one := range strings.FieldsSeq(text) {
		if b, err := hex.DecodeString(one); err == nil && len(b) == envelope.LineSize {
			lines = append(lines, Line(b))
		}
	}
	return lines
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
