package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coffer-storage/coffer/internal/rotation"
)

// pollInterval is the time between two reads of the state of rotations.
const pollInterval = 500 * time.Millisecond

// serverTimeout is the time without a change of any server's announcement after which the command warns that no server works. A running
// server rewrites its announcement every five seconds.
const serverTimeout = 12 * time.Second

// errWatchInterrupted means that the command was interrupted.
var errWatchInterrupted = errors.New("interrupted; servers continue the rotation")

// beginRotations begins the rotations of tenants, and returns the tenants whose rotation has begun.
func beginRotations(ctx context.Context, rotator *rotation.Rotator, tenants []string, order rotation.Order) (begun []string, failed error) {
	for _, id := range tenants {
		_, err := rotator.Begin(ctx, id, order)
		switch {
		case err == nil:
			begun = append(begun, id)
		case ctx.Err() != nil:
			return begun, fmt.Errorf("interrupted before the rotations of tenant %s and the following tenants had begun", strconv.Quote(id))
		default:
			failed = errors.Join(failed, tenantError(id, err))
		}
	}
	return begun, failed
}

// waitForReencryption works on rotations like a server, until the cache is re-encrypted. It prints each error once, and tries again.
func waitForReencryption(ctx context.Context, out io.Writer, rotator *rotation.Rotator, tenants []string) error {
	defer runInBackground(ctx, func(ctx context.Context) {
		said := map[string]bool{}
		for ctx.Err() == nil {
			did, err := rotator.RunPending(ctx)
			if err != nil && ctx.Err() == nil && !said[err.Error()] {
				said[err.Error()] = true
				_, _ = fmt.Fprintln(out, "tried again:", err)
			}
			if !did || err != nil {
				_ = pause(ctx) // the loop checks ctx
			}
		}
	})()
	draw := newProgress(out, "re-encrypt")
	warned := false
	for {
		if rotator.Store == nil {
			quiet, err := rotator.ServersUnchangedFor(ctx)
			alone := err == nil && quiet >= serverTimeout
			if alone && !warned {
				fmt.Fprintln(out, "no server works on the rotation: start one. Servers continue the rotation, so this command can be interrupted")
			}
			warned = alone
		}
		left, scanned, total, err := dropReencrypted(ctx, rotator, tenants)
		if ctx.Err() != nil {
			return errWatchInterrupted
		}
		if err != nil {
			return err
		}
		if draw != nil {
			draw(min(scanned, total), total+min(len(left), 1)) // it must not be full before everything is done
		}
		if tenants = left; len(left) == 0 {
			return nil
		}
		if pause(ctx) != nil {
			return errWatchInterrupted
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollInterval):
		return nil
	}
}

// dropReencrypted drops tenants from the front until the rotation of one waits for re-encryption, and returns the progress of the sweep. It
// does not read the tenants after that one, because all of them wait for the same sweep.
func dropReencrypted(ctx context.Context, rotator *rotation.Rotator, tenants []string) (left []string, scanned, total int, err error) {
	for left = tenants; len(left) > 0; left = left[1:] {
		record, err := rotator.Record(ctx, left[0])
		if err != nil {
			return nil, 0, 0, err
		}
		if record != nil && record.NeedsReencryption() {
			break
		}
	}
	sweep, err := rotator.CurrentSweep(ctx)
	if err != nil || !sweep.Running() {
		return left, 0, 0, err
	}
	report := sweep.Report()
	return left, report.Scanned, max(report.Expected, report.Scanned), nil
}

func (r *rotateFlags) print(ctx context.Context, out io.Writer, rotator *rotation.Rotator, tenants []string) error {
	records := make([]*rotation.Record, len(tenants))
	for i, id := range tenants {
		var err error
		if records[i], err = rotator.Record(ctx, id); err != nil {
			return err
		}
	}
	status, err := rotator.Status(ctx, records)
	if err != nil {
		return err
	}
	if r.asJSON {
		return printJSON(out, status)
	}
	if len(status.Rotations) == 0 {
		fmt.Fprintln(out, "no rotation yet")
	} else if err := printRotations(out, status.Rotations); err != nil {
		return err
	}
	return printSweep(out, &status)
}

func printRotations(out io.Writer, reports []rotation.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tSTATE\tCLASSES\tREASON\tBEGUN\tRE-ENCRYPTED\tFAILED\tNEXT STEP")
	for _, r := range reports {
		state, next, reason := string(r.State), "-", "-"
		if r.Compromised {
			state += ", compromised"
		}
		if r.NextAt != nil {
			next = formatTime(r.NextAt.Time, "")
		}
		if r.Reason != "" {
			reason = string(r.Reason)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", strconv.Quote(r.Tenant), state, classNames(&r), reason, formatTime(r.BegunAt.Time, ""),
			r.Reencrypted, r.Failed, next)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range reports {
		for _, f := range r.Failures {
			fmt.Fprintf(out, "tenant %s: %d entries of class %s under key %s do not open: %s\n", strconv.Quote(r.Tenant), f.Entries, f.Class, f.KeyID[:16], f.Code)
		}
	}
	return nil
}

func printSweep(out io.Writer, status *rotation.Status) error {
	if s := status.Sweep; s != nil {
		of := ""
		if s.Expected > 0 && s.EndedAt == nil {
			of = fmt.Sprintf(" of about %d", s.Expected)
		}
		fmt.Fprintf(out, "sweep of %s: %d of %d parts, %d%s entries", formatTime(s.StartedAt.Time, ""), s.PartsDone, s.Parts, s.Scanned, of)
		switch {
		case s.Fault != "":
			fmt.Fprintf(out, "; incomplete: %s\n", s.Fault)
		case s.EndedAt != nil:
			fmt.Fprintln(out, "; complete")
		default:
			fmt.Fprintln(out, "; in progress")
		}
	}
	for _, warning := range status.Warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	return nil
}

func classNames(r *rotation.Report) string {
	var names []string
	for _, k := range r.Keysets {
		if !slices.Contains(names, k.Class) {
			names = append(names, k.Class)
		}
	}
	return strings.Join(names, " ")
}
