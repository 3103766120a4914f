package recovery

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/format"
)

// Shreddings says which tenants were shredded, and when last, in milliseconds since 1970.
type Shreddings map[string]int64

// AddTenant adds a tenant that was shredded at a time that is not known: whatever the backup has of it is shredded.
func (s Shreddings) AddTenant(id string) { s[id] = format.MaxTime }

// AddLog adds what the audit log at a path says, whose key is given. Of a log that is not as it was written it adds nothing, and returns audit.ErrAltered:
// who can write to a file could have any tenant shredded by it.
func (s Shreddings) AddLog(ctx context.Context, path string, key *audit.Key) error {
	return s.add(func(found func(*audit.Line)) error { return audit.Each(ctx, path, key, &shredded, found) })
}

// AddUnprovenLog adds what one file of an audit log says, whoever wrote it.
func (s Shreddings) AddUnprovenLog(ctx context.Context, path string) error {
	return s.add(func(found func(*audit.Line)) error { return audit.EachUnproven(ctx, path, &shredded, found) })
}

var shredded = audit.Filter{Action: audit.TenantShred.String()}

func (s Shreddings) add(each func(found func(*audit.Line)) error) error {
	var all []audit.Line
	if err := each(func(l *audit.Line) { all = append(all, *l) }); err != nil {
		return err
	}
	failed := map[string]bool{}
	for _, l := range all {
		if job := l.Facts["job"]; l.Outcome != "ok" && job != "" {
			failed[job] = true
		}
	}
	for _, l := range all {
		if l.Outcome == "ok" && !failed[l.Facts["job"]] {
			s[l.Tenant] = max(s[l.Tenant], milliseconds(l.Time), milliseconds(l.Facts["to"]))
		}
	}
	return nil
}

// milliseconds reads a time of the log; 0 where there is none.
func milliseconds(text string) int64 {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}
