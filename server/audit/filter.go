package audit

import (
	"slices"
	"strings"
	"time"
)

// Filter says which lines are wanted. The zero Filter wants all.
type Filter struct {
	Tenant   string    // empty: of every tenant, and of none
	Action   string    // such as key.open, or what several begin with, such as key.
	Class    string    // and no other
	Severity Severity  // the least
	Since    time.Time // zero: from the beginning of the log
}

// Wants reports whether a line passes.
func (f *Filter) Matches(l *Line) bool {
	switch {
	case f.Tenant != "" && f.Tenant != l.Tenant, f.Action != "" && !fits(f.Action, l.Action), f.Class != "" && f.Class != l.Class:
		return false
	case slices.Index(severities, l.Severity) < slices.Index(severities, f.Severity):
		return false
	}
	return !l.at.Before(f.Since)
}

// fits reports whether an action is the one that is wanted, or begins so.
func fits(wanted, action string) bool {
	return action == wanted || strings.HasSuffix(wanted, ".") && strings.HasPrefix(action, wanted)
}

// IsAction reports whether there is an action that a Filter of that Action wants.
func MatchesAction(name string) bool {
	return name != "" && slices.ContainsFunc(actions, func(action string) bool { return fits(name, action) })
}

var severities = []Severity{Info, Notice, Warning, Critical}

// ParseSeverity reads a severity's name.
func ParseSeverity(text string) (Severity, bool) {
	return Severity(text), slices.Contains(severities, Severity(text))
}
