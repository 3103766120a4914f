package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/server/audit"
)

func auditTailCommand() *cobra.Command {
	var n int
	var follow, asJSON bool
	var since, severity string
	var filter audit.Filter
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the last events of the audit log, and those to come",
		Long: "Shows the last events that pass the filters, the oldest first: as a table on a terminal, and otherwise as the log has them, one JSON object a line.\n" +
			"It does not check them: coffer audit verify does.",
		Example: "  coffer audit tail --data DIR -n 50 --severity warning\n" +
			"  coffer audit tail --data DIR --follow --tenant clinic-7 --since 24h",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, err := loadData(cmd)
			if err != nil {
				return err
			}
			if n < 0 || n > audit.MaxTail {
				return usageError(fmt.Errorf("-n takes a number from 0 to %d", audit.MaxTail))
			}
			known := severity == ""
			if !known {
				filter.Severity, known = audit.ParseSeverity(severity)
			}
			if !known {
				return usageError(errors.New("--severity takes info, notice, warning or critical"))
			}
			if filter.Action != "" && !audit.MatchesAction(filter.Action) {
				return usageError(errors.New("--action takes the name of an action, such as key.open or access.refused, or what several begin with, such as 'key.'"))
			}
			if filter.Since, err = parseSinceFlag(since); err != nil {
				return err
			}
			emit := eventTableWriter(cmd.OutOrStdout())
			if asJSON || terminal(cmd.OutOrStdout()) == nil {
				emit = lineWriter(cmd.OutOrStdout())
			}
			return audit.Tail(cmd.Context(), auditPath(&c), n, &filter, follow, emit)
		},
	}
	config.AddFlags(cmd.Flags(), "data")
	cmd.Flags().IntVarP(&n, "lines", "n", 20, "how many of the last ones")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with those that are recorded, until SIGINT")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON on a terminal too")
	cmd.Flags().StringVar(&filter.Tenant, "tenant", "", "only of this tenant")
	cmd.Flags().StringVar(&filter.Action, "action", "", "only this action, such as key.open, or those that begin so, such as key.")
	cmd.Flags().StringVar(&severity, "severity", "", "only from this one up: info, notice, warning, critical")
	cmd.Flags().StringVar(&since, "since", "", "only after a time (RFC 3339), or not older than a duration such as 24h or 7d")
	return cmd
}

func parseSinceFlag(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := duration.Parse(text)
	if err != nil || d < 0 {
		return time.Time{}, usageError(errors.New("--since takes a time such as 2026-01-31T12:00:00Z, or a duration such as 24h or 7d"))
	}
	return time.Now().Add(-d), nil
}

func lineWriter(out io.Writer) func(*audit.Line) error {
	return func(l *audit.Line) error {
		_, err := fmt.Fprintf(out, "%s\n", l.Text)
		return err
	}
}

// printEvent prints a row with columns of fixed widths, since what is to come is not known. What clients sent
// is quoted: it could move a terminal's cursor.
func eventTableWriter(out io.Writer) func(*audit.Line) error {
	const row = "%-24s  %-8s  %-16s  %-7s  %-20s  %-18s  %-12s  %s\n"
	begun := false
	return func(l *audit.Line) error {
		if !begun {
			begun = true
			fmt.Fprintf(out, row, "TIME", "SEVERITY", "ACTION", "OUTCOME", "TENANT", "SUBJECT", "CLASS", "CODE")
		}
		_, err := fmt.Fprintf(out, row, l.Time, l.Severity, l.Action, l.Outcome, quoteIfSet(l.Tenant), quoteIfSet(l.Subject), l.Class, l.Code)
		return err
	}
}
