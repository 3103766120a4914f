package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print what is in force and where each value comes from",
		Long:  "Prints every setting as `coffer serve` would use it with the same environment and flags, and checks them all. Secrets are not shown.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, warnings, err := config.Describe(os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			for _, warning := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "SETTING\tVALUE\tFROM")
			for _, s := range settings {
				if s.Value == "" {
					s.Value = "-"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\n", s.Variable, s.Value, s.Source)
			}
			return table.Flush()
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and how this binary was built",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "coffer %s\n%s %s/%s%s\n", either(info.Main.Version, "(unknown)"), info.GoVersion,
				setting(info, "GOOS"), setting(info, "GOARCH"), revision(info))
			return err
		},
	}
}

// revision says which commit the binary was built from, if that is known.
func revision(info *debug.BuildInfo) string {
	commit := setting(info, "vcs.revision")
	if commit == "" {
		return ""
	}
	if setting(info, "vcs.modified") == "true" {
		commit += " with changes"
	}
	return fmt.Sprintf("\ncommit %s of %s", commit, setting(info, "vcs.time"))
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func either(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
