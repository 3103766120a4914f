package audit

import (
	"slices"
	"strings"
	"time"
)

// Filter selects lines. The zero Filter selects all lines.
type Filter struct {
	Tenant   string    // empty selects all, including lines without a tenant
	Action   string    // an action such as "key.open", or a prefix that ends with a dot, such as "key."; empty selects all
	Class    string    // exactly this class; empty selects all
	Severity Severity  // this severity and higher ones; empty selects all
	Since    time.Time // lines from this time on; zero selects all
}

// Matches reports whether the filter selects a line.
func (f *Filter) Matches(l *Line) bool {
	switch {
	case f.Tenant != "" && f.Tenant != l.Tenant, f.Action != "" && !matchesPattern(f.Action, l.Action), f.Class != "" && f.Class != l.Class:
		return false
	case slices.Index(severities, l.Severity) < slices.Index(severities, f.Severity):
		return false
	}
	return !l.at.Before(f.Since)
}

// matchesPattern reports whether an action equals a pattern, or begins with a pattern that ends with a dot.
func matchesPattern(wanted, action string) bool {
	return action == wanted || strings.HasSuffix(wanted, ".") && strings.HasPrefix(action, wanted)
}

// MatchesAction reports whether a pattern is valid for Filter.Action: it must match at least one action.
func MatchesAction(name string) bool {
	return name != "" && slices.ContainsFunc(actions, func(action string) bool { return matchesPattern(name, action) })
}

var severities = []Severity{Info, Notice, Warning, Critical}

// ParseSeverity parses the name of a severity. It returns false for any other text.
func ParseSeverity(text string) (Severity, bool) {
	return Severity(text), slices.Contains(severities, Severity(text))
}
