package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force and the source of each value",
		Long: "Checks and prints every setting as `coffer serve` would use it with the same environment and flags. Secrets are not shown.\n" +
			"Settings without a value are listed by name at the end.",
		Example: "  coffer config\n  COFFER_ENVIRONMENT=staging coffer config --listen :8080",
		GroupID: groupServer,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, warnings, err := config.Describe(os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			for _, warning := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), settings)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "SETTING\tVALUE\tFROM")
			var without []string
			for _, s := range settings {
				if s.Value == "" {
					without = append(without, s.Variable)
					continue
				}
				fmt.Fprintf(table, "%s\t%s\t%s\n", s.Variable, s.Value, s.Source)
			}
			if err := table.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nwithout a value: %s\n", strings.Join(without, ", "))
			return err
		},
	}
	config.AddFlags(cmd.Flags())
	addJSONFlag(cmd)
	return cmd
}
