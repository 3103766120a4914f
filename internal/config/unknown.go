package config

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// prefix begins variables that only this program uses.
const prefix = "COFFER_"

// Kubernetes sets these variables in each container for a Service whose name begins with coffer.
var (
	serviceVariable = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	serviceValue    = regexp.MustCompile(`^(tcp|udp|sctp)://`) // of COFFER_PORT, for example
)

// refuseUnknown refuses variables that begin with COFFER_ and are not settings: a misspelt setting would not be in force.
func (l *loader) refuseUnknown() {
	known := l.table.variables()
	for _, name := range slices.Sorted(maps.Keys(l.values)) {
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) || serviceVariable.MatchString(name) || serviceValue.MatchString(l.values[name]) {
			continue
		}
		if near := nearest(name, known); near != "" {
			l.refuse(name, "is not the name of a setting: did you mean "+near+"?")
		} else {
			l.refuse(name, "is not the name of a setting: `coffer serve --help` lists them")
		}
	}
}

// nearest returns the known name that takes the fewest edits; "" if it takes more than a third of the name's length.
func nearest(name string, known []string) string {
	edits := func(other string) int {
		return distance(strings.TrimPrefix(name, prefix), strings.TrimPrefix(other, prefix))
	}
	near := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(edits(a), edits(b)) })
	if 3*edits(near) > len(name)-len(prefix) {
		return ""
	}
	return near
}

// distance returns the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
