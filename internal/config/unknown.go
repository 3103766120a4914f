package config

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// own begins the variables that are nobody else's, so that one that is none of the settings is a mistake.
const own = "COFFER_"

// ofServices are the variables that Kubernetes sets in each container for a Service whose name begins with coffer.
var ofServices = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// atService is what it sets a variable such as COFFER_PORT to; an operator who means a port gives a number.
var atService = regexp.MustCompile(`^(tcp|udp|sctp)://`)

// variables are the names of all settings, in their order.
var variables = func() (names []string) {
	fields := reflect.TypeFor[raw]()
	for i := range fields.NumField() {
		names = append(names, fields.Field(i).Tag.Get("env"))
	}
	return names
}()

// unknown refuses what begins as a setting's name and is none: what was meant would not be in force.
func (l *loader) unknown() {
	for _, name := range slices.Sorted(maps.Keys(l.values)) {
		if !strings.HasPrefix(name, own) || slices.Contains(variables, name) || ofServices.MatchString(name) || atService.MatchString(l.values[name]) {
			continue
		}
		if near := nearest(name); near != "" {
			l.refuse(name, "is not the name of a setting: "+near+" is the nearest")
		} else {
			l.refuse(name, "is not the name of a setting: `coffer serve --help` lists them")
		}
	}
}

// nearest gives the setting whose name takes the fewest letters to be changed; empty where that would be more
// than a third of them.
func nearest(name string) string {
	away := func(known string) int { return distance(strings.TrimPrefix(name, own), strings.TrimPrefix(known, own)) }
	near := slices.MinFunc(variables, func(a, b string) int { return cmp.Compare(away(a), away(b)) })
	if 3*away(near) > len(name)-len(own) {
		return ""
	}
	return near
}

// distance is that of Levenshtein, in bytes.
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
