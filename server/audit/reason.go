package audit

import (
	"maps"
	"slices"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Reason is why an operator changed keys. It is empty if the operator gave no reason.
type Reason string

// The reasons.
const (
	ReasonIncident  Reason = "incident"  // a key may be known to others, or was misused
	ReasonPersonnel Reason = "personnel" // a person with access has left
	ReasonPolicy    Reason = "policy"    // a rule, a contract or a law requires it
	ReasonSchedule  Reason = "schedule"  // it was scheduled
	ReasonOther     Reason = "other"
)

// reasons are all reasons, in the order in which help texts list them.
var reasons = []Reason{ReasonIncident, ReasonPersonnel, ReasonPolicy, ReasonSchedule, ReasonOther}

const reasonNames = "incident, personnel, policy, schedule or other"

// ErrReason reports an unknown reason.
var ErrReason = &codes.Error{ErrorCode: "invalid_argument", Message: "a reason is " + reasonNames}

// ParseReason parses a reason, which may be empty. It returns ErrReason for any other text.
func ParseReason(text string) (Reason, error) {
	if text != "" && !slices.Contains(reasons, Reason(text)) {
		return "", ErrReason
	}
	return Reason(text), nil
}

// ReasonFlagUsage returns the help text of a command-line flag that takes a reason.
func ReasonFlagUsage() string {
	return "why, for the audit log: " + reasonNames
}

// With returns a copy of the facts with the reason added, or the facts themselves if the reason is empty.
func (f Facts) With(r Reason) Facts {
	if r == "" {
		return f
	}
	return f.with(FactReason, string(r))
}

// with returns a copy of the facts with one added.
func (f Facts) with(fact Fact, value string) Facts {
	if f = maps.Clone(f); f == nil {
		f = Facts{}
	}
	f[fact] = value
	return f
}
