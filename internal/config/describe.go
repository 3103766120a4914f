package config

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Setting is the value in force of one variable.
type Setting struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`  // hidden if it is a secret; empty if there is none
	Source   string `json:"source"` // a flag, the variable of a file, .env, environment or default
}

// Describe returns all settings in the order of the table. It fails and warns as Load and CheckProduction do.
func Describe(environ []string, set *pflag.FlagSet) (settings []Setting, warnings []string, err error) {
	l, err := load(environ, set)
	if err == nil {
		err = l.config.CheckProduction()
	}
	if err != nil {
		return nil, l.warnings, err
	}
	for s := range l.table.all() {
		text := l.value(s.name)
		switch s.name { // the value in force can differ from the text
		case productionVariable:
			text = strconv.FormatBool(l.config.Production)
		case "KDF_ITERATIONS":
			text = strconv.FormatUint(uint64(l.config.KDFIterations), 10)
		}
		mayHavePassword := strings.Contains(text, "://") && strings.Contains(text, "@")
		if text != "" && s.kind.secret || mayHavePassword {
			text = hidden
		}
		settings = append(settings, Setting{s.name, text, l.origin(s.name)})
		if path := s.name + fileSuffix; s.kind.secret {
			settings = append(settings, Setting{path, l.values[path], l.origin(path)})
		}
	}
	return settings, l.warnings, nil
}

// origin returns where the value of a variable comes from.
func (l *loader) origin(variable string) string {
	switch {
	case l.given[variable] != "":
		return l.given[variable]
	case l.file[variable]:
		return dotenv
	case l.isSet(variable):
		return "environment"
	}
	return "default"
}
