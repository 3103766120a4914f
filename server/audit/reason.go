package audit

import (
	"maps"
	"slices"

	"github.com/coffer-storage/coffer/shared/codes"
)

// Reason is why an operator changes keys, for an auditor. It is empty if the operator gave no reason.
type Reason string

// The reasons.
const (
	ReasonIncident  Reason = "incident"  // a key may be known to others, or was misused
	ReasonPersonnel Reason = "personnel" // somebody with access has left
	ReasonPolicy    Reason = "policy"    // a rule, a contract or a law demands it
	ReasonSchedule  Reason = "schedule"  // it was planned
	ReasonOther     Reason = "other"
)

// Reasons are all reasons, in the order in which help texts list them.
var reasons = []Reason{ReasonIncident, ReasonPersonnel, ReasonPolicy, ReasonSchedule, ReasonOther}

const reasonNames = "incident, personnel, policy, schedule or other"

// ErrReason reports a reason that is not in the list.
var ErrReason = &codes.Error{Of: "invalid_argument", Text: "a reason is " + reasonNames}

// ParseReason reads a reason, which may be empty. It returns ErrReason.
func ParseReason(text string) (Reason, error) {
	if text != "" && !slices.Contains(reasons, Reason(text)) {
		return "", ErrReason
	}
	return Reason(text), nil
}

// ReasonUsage describes a flag that takes a reason.
func ReasonFlagUsage() string {
	return "why, for the audit log: " + reasonNames
}

// With returns facts with the reason, if there is one.
func (f Facts) With(r Reason) Facts {
	if r == "" {
		return f
	}
	return f.with(FactReason, string(r))
}

// with returns facts with one more.
func (f Facts) with(fact Fact, value string) Facts {
	if f = maps.Clone(f); f == nil {
		f = Facts{}
	}
	f[fact] = value
	return f
}
