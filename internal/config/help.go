package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

//go:generate go test . -run TestExampleIsCurrent -update

// AddFlags adds the flags with the given names to a set; without names, all flags.
func AddFlags(set *pflag.FlagSet, names ...string) {
	for s := range newTable(new(Config)).all() {
		if s.flag == "" || len(names) > 0 && !slices.Contains(names, s.flag) {
			continue
		}
		usage := s.usage
		if s.initial != "" {
			usage += " (default " + s.initial + ")"
		}
		set.String(s.flag, "", usage+"; environment "+s.name)
	}
}

// Help returns the help about settings without a flag.
func Help() string {
	var out strings.Builder
	out.WriteString("Every setting has an environment variable; a flag wins over it. In development (COFFER_ENVIRONMENT is dev or not set) the file .env of the\n" +
		"working directory is read too, and the environment wins over it. An unknown variable that begins with COFFER_ is refused. A secret can be\n" +
		"given as the path of a file, in the variable with _FILE after its name, such as ENCRYPTION_MASTER_KEY_FILE. These settings have no flag:\n")
	for _, g := range newTable(new(Config)) {
		title := "\n" + g.title + ":\n\n"
		for _, s := range g.settings {
			if s.flag == "" {
				fmt.Fprintf(&out, "%s    %-30s  %s", title, s.name, s.usage)
				if s.initial != "" {
					fmt.Fprintf(&out, " (default %s)", s.initial)
				}
				out.WriteByte('\n')
				title = ""
			}
		}
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// example returns the content of .env.example.
func example() string {
	var out strings.Builder
	out.WriteString("# Settings of a server in development: copy this file to .env in the directory where coffer is started, and chmod 600 it. Each line shows\n" +
		"# the default. .env is read only if COFFER_ENVIRONMENT is dev or not set; a real variable wins over it, and a flag over both. `coffer config`\n" +
		"# shows the values in force and where each comes from. Put a value with # or $ in single quotes. A variable whose name ends in _FILE takes\n" +
		"# the path of a file that holds the secret. `go generate ./internal/config` writes this file.\n")
	for _, g := range newTable(new(Config)) {
		fmt.Fprintf(&out, "\n## %s\n", g.title)
		for _, s := range g.settings {
			initial := s.initial
			if s.name == productionVariable {
				initial = "false" // the default in development
			}
			fmt.Fprintf(&out, "# %s\n#%s=%s\n", s.usage, s.name, initial)
			if s.kind.secret {
				fmt.Fprintf(&out, "#%s=\n", s.name+fileSuffix)
			}
		}
	}
	return out.String()
}
