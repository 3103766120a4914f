package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by scripts/build.sh; empty in other builds.
var version string

// build describes how a binary was built.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the files differ from the commit
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Static   bool   `json:"static"` // it links no library of the system
}

func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b := build{
		Version: version, Commit: settings["vcs.revision"], Modified: settings["vcs.modified"] == "true", Time: settings["vcs.time"],
		Go: info.GoVersion, Platform: settings["GOOS"] + "/" + settings["GOARCH"], Static: settings["CGO_ENABLED"] == "0",
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(unknown)"
	}
	return b
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version and how this binary was built",
		Example: "  coffer version --json",
		GroupID: groupAbout,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := readBuild()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), b)
			}
			text := fmt.Sprintf("coffer %s\n%s %s\n", b.Version, b.Go, b.Platform)
			if b.Commit != "" {
				text += "commit " + b.Commit
				if b.Modified {
					text += " with changes"
				}
				text += " of " + b.Time + "\n"
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as one JSON object")
	return cmd
}
