package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Setting is one setting as it is in force.
type Setting struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`  // hidden if it is a secret; empty if there is none
	Source   string `json:"source"` // a flag, the variable of a file, .env, environment or default
}

// Describe gives all settings, and fails and warns as Load does.
func Describe(environ []string, set *pflag.FlagSet) (settings []Setting, warnings []string, err error) {
	c, r, l, err := load(environ, set)
	if err == nil {
		err = c.CheckProduction()
	}
	if err != nil {
		return nil, l.warnings, err
	}
	r.Production = strconv.FormatBool(c.Production)
	r.KDFIterations = strconv.FormatUint(uint64(c.KDFIterations), 10) // maybe raised
	for i, variable := range variables {
		s := Setting{Variable: variable, Value: reflect.ValueOf(r).Field(i).String()}
		withUser := strings.Contains(s.Value, "://") && strings.Contains(s.Value, "@") // and maybe a password
		if s.Source = l.source(s.Variable); s.Value != "" && slices.Contains(secrets, s.Variable) || withUser {
			s.Value = hidden
		}
		settings = append(settings, s)
	}
	return settings, l.warnings, nil
}

func (l *loader) source(variable string) string {
	switch {
	case l.given[variable] != "":
		return l.given[variable]
	case l.file[variable]:
		return dotenv
	case l.set(variable):
		return "environment"
	}
	return "default"
}
