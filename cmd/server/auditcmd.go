package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
)

func auditCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "audit",
		GroupID: groupAdmin,
		Short:   "Check and read the audit log, or begin another one",
		Long:    "Works on the audit log in the data directory, or in a copy of it. Servers may write to it in the meantime.",
	}
	group.AddCommand(auditVerifyCommand(), auditTailCommand(), auditBeginCommand())
	return group
}

// errLog means that verify found a fault, which it printed.
var errLog = errors.New("the audit log is not as it was written")

func auditVerifyCommand() *cobra.Command {
	var heads []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no line of the audit log was changed, removed, inserted or moved, and compare keys and API tokens with it",
		Long: "Reads every line of every file, and names the first one of each chain that is not as it was written, and what is wrong: changed, removed, inserted,\n" +
			"truncated, rewritten, altered or head. The exit code is 0 only if nothing is wrong. It needs the server's keysets, KEK and environment.\n\n" +
			"Give heads that were kept elsewhere by --head (the server's log has them as \"audit head\", and GET /v1/audit/head returns them). With them it also finds\n" +
			"a log that was put back to an earlier state, and one that somebody wrote again who has the key. A head of a line that retention deleted is\n" +
			"refused, because it cannot be checked.\n\n" +
			"If the log is as it was written, the keystore is compared with it. It names tenants that were shredded and keys that were destroyed and that are there again,\n" +
			"and tokens that are altered, that are in force although the log records their revocation (returned), that differ from what the log recorded (other), and\n" +
			"that were made without an event (unrecorded). The log need not have the creation of tokens that were made before its first line, or on another host that\n" +
			"shares the keysets: these are counted.",
		Example: "  coffer audit verify --data DIR\n" +
			"  coffer audit verify --data COPY --head 1:4711:0f3a…,2:17:9c1e… --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var given audit.Heads
			for _, text := range heads {
				one, err := audit.ParseHeads(text)
				if err != nil {
					return usage(fmt.Errorf("--head: %w", err))
				}
				given = append(given, one...)
			}
			v, err := verifyAudit(cmd, given)
			if err != nil {
				return err
			}
			if err := printVerification(cmd.OutOrStdout(), v, asJSON); err != nil {
				return err
			}
			if v.Fault != nil {
				return errLog
			}
			if len(v.Tokens.Findings) > 0 {
				err = errTokens
			}
			if len(v.Returned) > 0 {
				err = errors.Join(err, errReturned)
			}
			return err
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringArrayVar(&heads, "head", nil, "heads that were kept elsewhere, as CHAIN:SEQ:MAC separated by commas; may be given again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// verification is what is known of the log, and of tokens and keys by it. Of them nothing is known if the log is not as it was written.
type verification struct {
	*audit.Verification
	Tokens   *token.Comparison `json:"tokens,omitempty"`
	Returned []endedTenant     `json:"returned,omitempty"` // alive, although the log records that the tenant was shredded or keys were destroyed
}

func verifyAudit(cmd *cobra.Command, given audit.Heads) (v *verification, err error) {
	o, err := openOperatorKeys(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	system, err := o.keys.ring.FindSystem(cmd.Context())
	if err != nil {
		return nil, o.keys.explain(err, o.config)
	}
	path := auditPath(o.config)
	key, err := readLogKey(cmd.Context(), path, system)
	if err != nil && !errors.Is(err, audit.ErrHead) { // which Verify finds
		return nil, err
	}
	v = &verification{}
	v.Verification, err = audit.Verify(cmd.Context(), path, key, given, progress(cmd.ErrOrStderr(), "verify"))
	if err != nil || v.Fault != nil {
		return v, err
	}
	if v.Tokens, err = compareTokens(cmd.Context(), o, system, v.Verification, key); err != nil {
		return v, err
	}
	v.Returned, err = compareKeys(cmd.Context(), o.recovery(cmd, "verify"), path, key)
	return v, err
}

// errReturned means that verify found keys that were destroyed, which it printed.
var errReturned = errors.New("the keystore has keys that were destroyed, as the audit log records: shred the tenants again, and destroy the keys again")

// compareKeys returns the tenants that are alive in the keystore, or that have keys there, although a log that was verified records their end.
func compareKeys(ctx context.Context, r *recovery.Recovery, path string, key *audit.Key) ([]endedTenant, error) {
	compare := func() ([]recovery.Destroyed, error) {
		var endings recovery.Tombstones
		if err := endings.AddLog(ctx, path, key); err != nil {
			return nil, err
		}
		return r.FindNotDestroyed(ctx, &endings)
	}
	returned, err := compare()
	if len(returned) > 0 { // a change is recorded before it is made, so it may be under way
		recovery.WaitForPropagation(ctx)
		returned, err = compare()
	}
	return endedTenants(returned), err
}

// readLogKey returns the key of a log that is there.
func readLogKey(ctx context.Context, path string, system *keyring.System) (*audit.Key, error) {
	used, err := audit.Exists(path)
	if err == nil && !used {
		err = notFound(fmt.Errorf("%s is not the directory of an audit log", path))
	}
	if err != nil {
		return nil, err
	}
	return logKey(ctx, path, system)
}

// addEndings adds what a log says, if that is as it was written.
func addEndings(ctx context.Context, o *operator, to *recovery.Tombstones, path string) error {
	key, err := readLogKey(ctx, path, o.keys.own)
	if err == nil {
		err = to.AddLog(ctx, path, key)
	}
	if errors.Is(err, audit.ErrAltered) {
		return fmt.Errorf("%w: nothing was changed. See coffer audit verify; then move the log away and keep it, begin another one by coffer audit begin, and give the "+
			"tenants that were shredded by --shredded, or files of the log that you believe by --unproven-audit-log", err)
	}
	return err
}

func printVerification(out io.Writer, v *verification, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	for _, c := range v.Chains {
		if c.Files == 0 && c.Lines == 0 && c.Fault == nil {
			continue // it has no lines yet
		}
		fmt.Fprintf(out, "chain %d: %d lines in order, from %d, in %d files", c.Chain, c.Lines, c.FirstSeq, c.Files)
		if c.FirstTime != "" {
			fmt.Fprintf(out, ", since %s", c.FirstTime)
		}
		fmt.Fprintln(out)
		for _, torn := range c.Torn {
			fmt.Fprintf(out, "cut short by a kill or a full disk: %s\n", torn)
		}
		if f := c.Fault; f != nil && f != v.Fault {
			printFault(out, f)
		}
	}
	fmt.Fprintf(out, "last: %s\nhead: %s\n", v.Last, v.Heads)
	if v.Fault != nil {
		printFault(out, v.Fault)
		return nil
	}
	fmt.Fprintln(out, "nothing was altered")
	for _, e := range v.Returned {
		if e.Shredded {
			fmt.Fprintf(out, "tenant %s: shredded, and alive again\n", strconv.Quote(e.Tenant))
		}
		if e.Keys > 0 {
			fmt.Fprintf(out, "tenant %s: keys that were destroyed and are there again: %d\n", strconv.Quote(e.Tenant), e.Keys)
		}
	}
	return printComparison(out, v.Tokens)
}

func printFault(out io.Writer, f *audit.Fault) {
	fmt.Fprintf(out, "%s: %s:%d, where line %d must be: %s\n", f.Kind, f.File, f.Line, f.Seq, f.Detail)
}

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
				return usage(fmt.Errorf("-n takes a number from 0 to %d", audit.MaxTail))
			}
			known := severity == ""
			if !known {
				filter.Severity, known = audit.ParseSeverity(severity)
			}
			if !known {
				return usage(errors.New("--severity takes info, notice, warning or critical"))
			}
			if filter.Action != "" && !audit.MatchesAction(filter.Action) {
				return usage(errors.New("--action takes the name of an action, such as key.open or access.refused, or what several begin with, such as 'key.'"))
			}
			if filter.Since, err = parseSince(since); err != nil {
				return err
			}
			emit := printEvent(cmd.OutOrStdout())
			if asJSON || terminal(cmd.OutOrStdout()) == nil {
				emit = printLine(cmd.OutOrStdout())
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

func parseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := duration.Parse(text)
	if err != nil || d < 0 {
		return time.Time{}, usage(errors.New("--since takes a time such as 2026-01-31T12:00:00Z, or a duration such as 24h or 7d"))
	}
	return time.Now().Add(-d), nil
}

func printLine(out io.Writer) func(*audit.Line) error {
	return func(l *audit.Line) error {
		_, err := fmt.Fprintf(out, "%s\n", l.Text)
		return err
	}
}

// printEvent prints a row with columns of fixed widths, since what is to come is not known. What clients sent
// is quoted: it could move a terminal's cursor.
func printEvent(out io.Writer) func(*audit.Line) error {
	const row = "%-24s  %-8s  %-16s  %-7s  %-20s  %-18s  %-12s  %s\n"
	begun := false
	return func(l *audit.Line) error {
		if !begun {
			begun = true
			fmt.Fprintf(out, row, "TIME", "SEVERITY", "ACTION", "OUTCOME", "TENANT", "SUBJECT", "CLASS", "CODE")
		}
		_, err := fmt.Fprintf(out, row, l.Time, l.Severity, l.Action, l.Outcome, quoted(l.Tenant), quoted(l.Subject), l.Class, l.Code)
		return err
	}
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return strconv.QuoteToASCII(text)
}
