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

	"github.com/coffer-storage/coffer/server/rotation"
)

// between is the time between two looks at what another process does.
const between = 500 * time.Millisecond

// errUnwatched says that the command was interrupted.
var errUnwatched = errors.New("no longer watched; servers go on with the rotation")

// begin begins the rotations, and gives the tenants whose have begun.
func begin(ctx context.Context, rotator *rotation.Rotator, tenants []string, order rotation.Order) (begun []string, failed error) {
	for _, id := range tenants {
		_, err := rotator.Begin(ctx, id, order)
		switch {
		case err == nil:
			begun = append(begun, id)
		case ctx.Err() != nil:
			return begun, fmt.Errorf("interrupted before the rotation of tenant %s and those after it had begun", strconv.Quote(id))
		default:
			failed = errors.Join(failed, ofTenant(id, err))
		}
	}
	return begun, failed
}

// watch works on rotations, or watches another process do so, until the caches are under the new keys. One
// that fails holds up no other.
func watch(ctx context.Context, out io.Writer, rotator *rotation.Rotator, tenants []string) (failed error) {
	defer func() { _ = rotator.Release(context.WithoutCancel(ctx)) }() // else it runs out by itself
	draw := progress(out, "re-encrypt")
	for {
		left, scanned, total, busy := 0, 0, 0, false
		for _, id := range slices.Clone(tenants) {
			record, more, err := rotator.Work(ctx, id)
			if ctx.Err() != nil {
				return errors.Join(failed, errUnwatched)
			}
			if err != nil {
				failed = errors.Join(failed, ofTenant(id, err))
				tenants = slices.DeleteFunc(tenants, func(other string) bool { return other == id })
			}
			if err != nil || record == nil {
				continue
			}
			scanned, total, busy = scanned+record.Counts.Scanned, total+record.Counts.Total, busy || more
			if record.Fresh() {
				left++
			}
		}
		if draw != nil {
			draw(min(scanned, total), total+min(left, 1)) // it is not full before everything is done
		}
		if left == 0 {
			return failed
		}
		if !busy {
			select {
			case <-ctx.Done():
				return errors.Join(failed, errUnwatched)
			case <-time.After(between):
			}
		}
	}
}

func (r *rotate) print(ctx context.Context, out io.Writer, rotator *rotation.Rotator, tenants []string) error {
	reports := []rotation.Report{}
	for _, id := range tenants {
		record, err := rotator.Record(ctx, id)
		if err != nil {
			return err
		}
		if record != nil && record.State != rotation.Idle {
			reports = append(reports, record.Report())
		}
	}
	if r.asJSON {
		return printJSON(out, reports)
	}
	if len(reports) == 0 {
		_, err := fmt.Fprintln(out, "nothing was rotated yet")
		return err
	}
	return table(out, reports)
}

func table(out io.Writer, reports []rotation.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tSTATE\tCLASSES\tBEGUN\tLOOKED AT\tRE-ENCRYPTED\tFAILED\tNEXT STEP")
	for _, r := range reports {
		state, next := string(r.State), "-"
		if r.Compromised {
			state += ", compromised"
		}
		if r.NextAt != nil {
			next = shown(r.NextAt.Time, "")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d of %d\t%d\t%d\t%s\n", strconv.Quote(r.Tenant), state, classesOf(&r), shown(r.BegunAt.Time, ""),
			r.Scanned, r.Total, r.Reencrypted, r.Failed, next)
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

func classesOf(r *rotation.Report) string {
	var names []string
	for _, k := range r.Keysets {
		if !slices.Contains(names, k.Class) {
			names = append(names, k.Class)
		}
	}
	return strings.Join(names, " ")
}
