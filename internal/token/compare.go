package token

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
)

// Difference is how a token differs from its events in the audit log.
type Difference string

// The differences. They are part of the output of `coffer audit verify`.
const (
	Altered    Difference = "altered"    // the document does not authenticate
	Reinstated Difference = "returned"   // the token is accepted although the log records its revocation
	Mismatched Difference = "other"      // the document authenticates but differs from the one that the log recorded
	Unrecorded Difference = "unrecorded" // the document authenticates but the log does not record that the token was made
)

// Finding is a token that differs from its events in the audit log.
type Finding struct {
	ID   string     `json:"id"`
	Kind Difference `json:"kind"`
}

// Comparison is the result of Registry.Compare.
type Comparison struct {
	Compared    int       `json:"compared"`    // tokens that match the event of their creation
	Unexplained int       `json:"unexplained"` // tokens without such an event, which the log may lack for a known reason
	Findings    []Finding `json:"findings,omitempty"`
}

// AuditEvents collects the events about tokens from an audit log.
type AuditEvents struct {
	lines []audit.Line
}

// Add adds an event. It ignores events about other things.
func (e *AuditEvents) Add(l *audit.Line) {
	if l.Action == audit.TokenCreate.String() || l.Action == audit.TokenRevoke.String() {
		one := *l
		one.Text = nil // it refers to a buffer of the file's reader
		e.lines = append(e.lines, one)
	}
}

// Compare compares all tokens with the events of a verified audit log. mayLack reports whether the log may lack the
// event of a token that was made at a time, because of retention or because it is in another host's log. A token that
// is in the log but no longer in the keystore is not a finding. Compare returns an error if it cannot read all tokens.
func (r *Registry) Compare(ctx context.Context, events *AuditEvents, mayLack func(created time.Time) bool) (c Comparison, err error) {
	created, revoked := map[string]string{}, map[string]bool{}
	for _, l := range audit.EffectiveChanges(events.lines) {
		if l.Action == audit.TokenRevoke.String() {
			revoked[l.Subject] = true
		} else {
			created[l.Subject] = l.Facts[audit.FactDigest]
		}
	}
	find := func(e *storedToken, kind Difference) { c.Findings = append(c.Findings, Finding{e.ID, kind}) }
	err = r.forEach(ctx, func(e *storedToken) {
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
