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
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
)

// errAuditLogAltered means that verify found a fault, which it printed.
var errAuditLogAltered = errors.New("the audit log was altered")

func auditVerifyCommand() *cobra.Command {
	var heads []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the audit log was not altered, and compare keys and API tokens with it",
		Long: "Reads every line of every file. For each chain it prints the first line that was altered, and how: changed, removed, inserted, truncated,\n" +
			"rewritten, altered or head. The exit code is 0 only if it finds nothing. It needs the server's keysets, KEK and environment.\n\n" +
			"Pass heads that were stored elsewhere with --head (the server's log has them as \"audit head\", and GET /v1/audit/head returns them). With a\n" +
			"head, the command also detects a log that was rolled back to an earlier state, and one that a holder of the key rewrote. A head of a line\n" +
			"that retention deleted is refused, because it cannot be checked.\n\n" +
			"If the log was not altered, the command compares the keystore with it. It prints shredded tenants and destroyed keys that are in the keystore\n" +
			"again, and tokens that are altered, that are valid although the log records their revocation (returned), that differ from their event\n" +
			"(other), and that have no event (unrecorded). Tokens from before the log's first line, or from another host that shares the keysets, may have\n" +
			"no event; they are counted.",
		Example: "  coffer audit verify --data DIR\n" +
			"  coffer audit verify --data COPY --head 1:4711:0f3a…,2:17:9c1e… --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var given audit.Heads
			for _, text := range heads {
				one, err := audit.ParseHeads(text)
				if err != nil {
					return usageError(fmt.Errorf("--head: %w", err))
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
				return errAuditLogAltered
			}
			if len(v.Tokens.Findings) > 0 {
				err = errTokensDiffer
			}
			if len(v.Returned) > 0 {
				err = errors.Join(err, errDestroyedKeysReturned)
			}
			return err
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringArrayVar(&heads, "head", nil, "heads that were stored elsewhere, as CHAIN:SEQ:MAC separated by commas; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// verification is the result of the command. Tokens and keys are compared only with a log that was not altered.
type verification struct {
	*audit.Verification
	Tokens   *token.Comparison `json:"tokens,omitempty"`
	Returned []endedTenant     `json:"returned,omitempty"` // in the keystore, although the log records that they were shredded or destroyed
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
	key, err := existingAuditKey(cmd.Context(), path, system)
	if err != nil && !errors.Is(err, audit.ErrHead) { // Verify reports it
		return nil, err
	}
	v = &verification{}
	v.Verification, err = audit.Verify(cmd.Context(), path, key, given, newProgress(cmd.ErrOrStderr(), "verify"))
	if err != nil || v.Fault != nil {
		return v, err
	}
	if v.Tokens, err = compareTokens(cmd.Context(), o, system, v.Verification, key); err != nil {
		return v, err
	}
	v.Returned, err = compareKeys(cmd.Context(), o.recovery(cmd, "verify"), path, key)
	return v, err
}

// errDestroyedKeysReturned means that verify found destroyed keys in the keystore, which it printed.
var errDestroyedKeysReturned = errors.New("the keystore has keys that were destroyed according to the audit log: shred the tenants again, and destroy the keys again")

// compareKeys returns the tenants and keys in the keystore that were shredded or destroyed according to a verified log.
func compareKeys(ctx context.Context, r *recovery.Recovery, path string, key *audit.Key) ([]endedTenant, error) {
	compare := func() ([]recovery.Destroyed, error) {
		var endings recovery.Tombstones
		if err := endings.AddLog(ctx, path, key); err != nil {
			return nil, err
		}
		return r.FindNotDestroyed(ctx, &endings)
	}
	returned, err := compare()
	if len(returned) > 0 { // a change is recorded before it is made, and may be in progress
		recovery.WaitForPropagation(ctx)
		returned, err = compare()
	}
	return toEndedTenants(returned), err
}

// errTokensDiffer means that verify found tokens that differ from the audit log, which it printed.
var errTokensDiffer = errors.New("tokens in the keystore differ from the audit log: revoke them by coffer token revoke")

// compareTokens compares the tokens in the keystore with a verified log.
func compareTokens(ctx context.Context, o *operator, system *keyring.System, v *audit.Verification, key *audit.Key) (*token.Comparison, error) {
	var events token.AuditEvents
	if err := audit.ReadVerified(ctx, auditPath(o.config), key, &audit.Filter{Action: "token."}, events.Add); err != nil {
		return nil, err
	}
	begin := completeSince(v)
	c, err := token.NewRegistry(o.keys.store, system).Compare(ctx, &events, func(created time.Time) bool {
		return o.config.Keys.Redis != "" || created.Before(begin)
	})
	return &c, err
}

// completeSince returns the time since which the log has all events: that of its first line, or of the first one that retention left.
func completeSince(v *audit.Verification) (begin time.Time) {
	var pruned time.Time
	for _, c := range v.Chains {
		since, err := time.Parse(time.RFC3339, c.FirstTime)
		if err != nil {
			continue // it has no lines
		}
		if begin.IsZero() || since.Before(begin) {
			begin = since
		}
		if c.FirstSeq > 1 && since.After(pruned) {
			pruned = since
		}
	}
	if pruned.After(begin) {
		return pruned
	}
	return begin
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

func printComparison(out io.Writer, c *token.Comparison) error {
	for _, f := range c.Findings {
		fmt.Fprintf(out, "token %s: %s\n", quoteTokenID(f.ID), f.Kind)
	}
	if c.Unexplained > 0 {
		fmt.Fprintf(out, "%d tokens were made before the log begins, or on another host: they were not compared\n", c.Unexplained)
	}
	_, err := fmt.Fprintf(out, "tokens: %d, all as they were recorded\n", c.Compared)
	return err
}
