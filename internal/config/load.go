package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Load reads the settings from environ, in the form of os.Environ, from the flags of set that were given, and from files. Warnings are
// sentences for the log about settings that were changed or ignored. An error names every setting that is not valid.
func Load(environ []string, set *pflag.FlagSet) (c Config, warnings []string, err error) {
	l, err := load(environ, set)
	if err != nil {
		return Config{}, l.warnings, err
	}
	return l.config, l.warnings, nil
}

func load(environ []string, set *pflag.FlagSet) (*loader, error) {
	l := &loader{values: map[string]string{}, given: map[string]string{}, file: map[string]bool{}}
	l.config = Config{
		TTL:   map[classify.Class]time.Duration{},
		KMS:   KMS{Classes: map[classify.Class]MasterKey{}},
		Redis: Redis{Port: defaultRedisPort},
	}
	l.table = newTable(&l.config)
	l.readSources(environ, set)
	l.refuseUnknown()
	for s := range l.table.all() {
		if text := l.value(s.name); text != "" && s.kind.parse != nil {
			if problem := s.kind.parse(l, s, text); problem != "" {
				l.refuse(s.name, problem)
			}
		}
	}
	l.check(&l.config)
	if len(l.problems) > 0 {
		return l, &invalidError{l.problems}
	}
	return l, nil
}

// check checks the settings that depend on each other.
func (l *loader) check(c *Config) {
	if l.value(productionVariable) == "" {
		c.Production = c.Environment != development // an operator who forgets the setting is protected, whatever the label
	}
	l.checkEncryption(c)
	c.MasterKey = l.masterKey()
	l.checkKMS(c)
	l.checkRedis(c)
	l.checkKeysRedis(c)
	l.checkOIDC(c)
	if c.Audit.OnFailure == audit.Continue {
		l.warn("%s is continue: keys are used unrecorded while the audit log cannot be written", l.source("COFFER_AUDIT_ON_FAILURE"))
	}
	if c.Audit.Copy == CopyRedis && !c.Redis.Configured() {
		l.refuse("COFFER_AUDIT_COPY", "must not be redis without a Redis for the cache")
	}
}

func (l *loader) checkEncryption(c *Config) {
	switch {
	case !c.Unencrypted:
	case c.Production:
		l.refuse("ENCRYPTION_ENABLED", "is false, which "+l.forbidden()+": values would be stored in the clear")
	default:
		l.warn("ENCRYPTION_ENABLED is false: VALUES ARE STORED IN THE CLEAR, for local debugging only; they cannot be read once it is true")
	}
}

const productionVariable = "COFFER_PRODUCTION"

// forbidden returns the end of a sentence about a setting that production forbids. It names the way out.
func (l *loader) forbidden() string {
	if l.isSet(productionVariable) {
		return "must not be used while COFFER_PRODUCTION is true"
	}
	return "must not be used in production, which every environment but dev is unless COFFER_PRODUCTION is false"
}

// invalidError lists the problems of a configuration.
type invalidError struct{ problems []string }

func (e *invalidError) Error() string {
	return "the configuration is not valid:\n  - " + strings.Join(e.problems, "\n  - ")
}

// Code returns the code of an argument that is not valid.
func (e *invalidError) Code() string { return "invalid_argument" }

// loader reads settings into a Config. It collects all problems instead of stopping at the first.
type loader struct {
	config   Config
	table    table
	values   map[string]string // by variable, with flags and files applied
	given    map[string]string // the flag, or the variable of a file, from which a variable's value comes
	file     map[string]bool   // variables from .env
	problems []string
	warnings []string
}

// value returns the text of a setting, or its default.
func (l *loader) value(variable string) string {
	if text, ok := l.values[variable]; ok {
		return text
	}
	return l.table.find(variable).initial
}

// isSet reports whether a variable has a value, which may be empty.
func (l *loader) isSet(variable string) bool {
	_, ok := l.values[variable]
	return ok
}

// source returns the flag, or the variable of a file, by which the operator gave a setting; otherwise its variable.
func (l *loader) source(variable string) string {
	if given, ok := l.given[variable]; ok {
		return given
	}
	return variable
}

// refuse adds the problem of a setting.
func (l *loader) refuse(variable, problem string) {
	l.problems = append(l.problems, l.source(variable)+" "+problem)
}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}
