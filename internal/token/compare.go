package token

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
)

// Difference is how a token differs from what the audit log recorded of it.
type Difference string

// The differences.
const (
	Altered    Difference = "altered"    // its document does not authenticate
	Reinstated Difference = "returned"   // it is in force, and the log records its revocation
	Mismatched Difference = "other"      // it authenticates, and is another one than the log recorded
	Unrecorded Difference = "unrecorded" // it authenticates, and the log does not record that it was made
)

// Finding is a token that differs from what the audit log recorded.
type Finding struct {
	ID   string     `json:"id"`
	Kind Difference `json:"kind"`
}

// Comparison is what Compare found.
type Comparison struct {
	Compared    int       `json:"compared"`    // tokens that were compared with the event of their creation
	Unexplained int       `json:"unexplained"` // tokens without one, which the log need not have
	Findings    []Finding `json:"findings,omitempty"`
}

// Events is what an audit log recorded of tokens.
type AuditEvents struct {
	lines []audit.Line
}

// Add adds an event; those of other actions are ignored.
func (e *AuditEvents) Add(l *audit.Line) {
	if l.Action == audit.TokenCreate.String() || l.Action == audit.TokenRevoke.String() {
		one := *l
		one.Text = nil // of a block of the file
		e.lines = append(e.lines, one)
	}
}

// Compare compares all tokens with the events of a log, which was verified. mayLack reports whether the log can lack the creation of
// a token that was made at a time, because retention deleted it or another host's log has it. A token that was revoked and is gone is
// no finding, nor is one that was recorded and is gone. It returns an error if not all tokens can be read.
func (r *Registry) Compare(ctx context.Context, events *AuditEvents, mayLack func(created time.Time) bool) (c Comparison, err error) {
	created, revoked := map[string]string{}, map[string]bool{}
	for _, l := range audit.EffectiveChanges(events.lines) {
		if l.Action == audit.TokenRevoke.String() {
			revoked[l.Subject] = true
		} else {
			created[l.Subject] = l.Facts[audit.FactDigest]
		}
	}
	find := func(e *entry, kind Difference) { c.Findings = append(c.Findings, Finding{e.ID, kind}) }
	err = r.each(ctx, func(e *entry) {
		digest, recorded := created[e.ID]
		switch {
		case e.Altered:
			find(e, Altered)
		case !e.RevokedAt.IsZero():
		case revoked[e.ID]:
			find(e, Reinstated)
		case recorded && digest != e.digest():
			find(e, Mismatched)
		case recorded:
			c.Compared++
		case mayLack(e.CreatedAt):
			c.Unexplained++
		default:
			find(e, Unrecorded)
		}
	})
	return c, err
}
