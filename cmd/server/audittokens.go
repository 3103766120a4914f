package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
)

// errTokens means that verify found tokens that differ from the audit log, which it printed.
var errTokens = errors.New("tokens in the keystore are not as the audit log recorded them: revoke them by coffer token revoke")

// compareTokens compares the tokens in the keystore with a log that was verified.
func compareTokens(ctx context.Context, o *operator, system *keyring.System, v *audit.Verification, key *audit.Key) (*token.Comparison, error) {
	var events token.AuditEvents
	if err := audit.ReadVerified(ctx, auditPath(o.config), key, &audit.Filter{Action: "token."}, events.Add); err != nil {
		return nil, err
	}
	begin := beginOf(v)
	c, err := token.NewRegistry(o.keys.store, system).Compare(ctx, &events, func(created time.Time) bool {
		return o.config.Keys.Redis != "" || created.Before(begin)
	})
	return &c, err
}

// beginOf returns the time from which on the log has all events: when its first line was written, or the first line that retention left.
func beginOf(v *audit.Verification) (begin time.Time) {
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

func printComparison(out io.Writer, c *token.Comparison) error {
	for _, f := range c.Findings {
		fmt.Fprintf(out, "token %s: %s\n", shownID(f.ID), f.Kind)
	}
	if c.Unexplained > 0 {
		fmt.Fprintf(out, "%d tokens were made before the log begins, or on another host: they were not compared\n", c.Unexplained)
	}
	_, err := fmt.Fprintf(out, "tokens: %d, all as they were recorded\n", c.Compared)
	return err
}
