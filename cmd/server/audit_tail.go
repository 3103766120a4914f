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
		Short: "Show the last events of the audit log, and follow it",
		Long: "Shows the last events that match the filters, the oldest first: as a table on a terminal, and otherwise as the lines of the log, one JSON object\n" +
			"each. It does not verify them: coffer audit verify does.",
		Example: "  coffer audit tail --data DIR -n 50 --severity warning\n" +
			"  coffer audit tail --data DIR --follow --tenant clinic-7 --since 24h",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, err := loadData(cmd)
			if err != nil {
				return err
			}
			if n < 0 || n > audit.MaxTail {
				return usageError(fmt.Errorf("-n must be a number from 0 to %d", audit.MaxTail))
			}
			known := severity == ""
			if !known {
				filter.Severity, known = audit.ParseSeverity(severity)
			}
			if !known {
				return usageError(errors.New("--severity must be info, notice, warning or critical"))
			}
			if filter.Action != "" && !audit.MatchesAction(filter.Action) {
				return usageError(errors.New("--action must be an action, such as key.open or access.refused, or the prefix of several, such as 'key.'"))
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
	cmd.Flags().IntVarP(&n, "lines", "n", 20, "number of events")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show new events until SIGINT")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON on a terminal too")
	cmd.Flags().StringVar(&filter.Tenant, "tenant", "", "only events of this tenant")
	cmd.Flags().StringVar(&filter.Action, "action", "", "only this action, such as key.open, or a prefix, such as key.")
	cmd.Flags().StringVar(&severity, "severity", "", "only events of at least this severity: info, notice, warning, critical")
	cmd.Flags().StringVar(&since, "since", "", "only events after a time (RFC 3339), or younger than a duration such as 24h or 7d")
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
		return time.Time{}, usageError(errors.New("--since must be a time such as 2026-01-31T12:00:00Z, or a duration such as 24h or 7d"))
	}
	return time.Now().Add(-d), nil
}

func lineWriter(out io.Writer) func(*audit.Line) error {
	return func(l *audit.Line) error {
		_, err := fmt.Fprintf(out, "%s\n", l.Text)
		return err
	}
}

// eventTableWriter returns a function that prints events as rows with columns of fixed widths, because later events are not known yet. It
// quotes values from clients, which could control the terminal.
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
