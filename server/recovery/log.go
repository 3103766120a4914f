package recovery

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/format"
)

// Shreddings says which tenants were shredded, and when last, in milliseconds since 1970.
type Shreddings map[string]int64

// AddTenant adds a tenant that was shredded at a time that is not known: whatever the backup has of it is shredded.
func (s Shreddings) AddTenant(id string) { s[id] = format.MaxTime }

// AddLog adds what an audit log says. Whether that was altered is not asked here.
func (s Shreddings) AddLog(log io.Reader) error {
	return eachLine(log, audit.TenantShred.String(), func(l *line) {
		if l.Action == audit.TenantShred.String() && l.Outcome == "ok" {
			s[l.Tenant] = max(s[l.Tenant], l.Time.UnixMilli())
		}
	})
}

// LastUse is when an audit log last tells of a use of the tenant's keys; the zero time where it does not.
func LastUse(log io.Reader, tenant string) (at time.Time, err error) {
	err = eachLine(log, `"key.`, func(l *line) {
		if l.Tenant == tenant && (l.Action == audit.KeySeal.String() || l.Action == audit.KeyOpen.String()) {
			at = l.Time
		}
	})
	return at, err
}

// line is what is read of an audit log's.
type line struct {
	Time                    time.Time
	Action, Outcome, Tenant string
}

// eachLine reads the lines that hold a text. What is no line of an audit log is passed over: a kill may have cut one short.
func eachLine(log io.Reader, holds string, do func(*line)) error {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if strings.Contains(lines.Text(), holds) && json.Unmarshal(lines.Bytes(), &l) == nil {
			do(&l)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("recovery: read the audit log: %w", err)
	}
	return nil
}
