package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// rotateFlags is the flags of one run of the command.
type rotateFlags struct {
	tenant, class                          string
	dry, execute, rollback, status, asJSON bool
	compromised                            bool
}

func rotateCommand() *cobra.Command {
	r := &rotateFlags{}
	cmd := &cobra.Command{
		Use:     "rotate",
		GroupID: groupAdmin,
		Short:   "Rotate tenants' keys and re-encrypt the cache",
		Long: "Creates new primary keys and re-encrypts every entry of the cache under them, while servers run. Former keys open until they are destroyed, and\n" +
			"--rollback makes them the primaries again. After COFFER_KEY_GRACE, and after two complete sweeps of the cache found no entry under them, servers\n" +
			"destroy the former keys of the cache. Former keys of files, fields and packages stay, because no sweep sees their data.\n\n" +
			"If the cache is in the embedded store of a running server, that server does the work, and the command shows its progress. Any server, or the\n" +
			"same command, continues an interrupted rotation.\n\n" +
			"--compromised is for keys that others may know: they never seal again, the tenant gets a new root, entries are re-encrypted at full rate, and\n" +
			"there is no grace period and no rollback. Data that others already opened with them stays known.",
		Example: "  coffer rotate --data DIR --dry-run\n" +
			"  coffer rotate --data DIR --execute --tenant clinic-7 --class phi\n" +
			"  coffer rotate --data DIR --status --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	config.AddFlags(cmd.Flags(), append(keyFlags, "key-grace", "reencrypt-rate")...)
	f := cmd.Flags()
	f.BoolVar(&r.dry, "dry-run", false, "only print what would be rotated")
	f.BoolVar(&r.execute, "execute", false, "rotate, and wait until the cache is re-encrypted")
	f.BoolVar(&r.rollback, "rollback", false, "make the former keys the primaries again")
	f.BoolVar(&r.status, "status", false, "only print the progress of the last rotations")
	f.StringVar(&r.tenant, "tenant", "", "only this tenant's keys")
	f.StringVar(&r.class, "class", "", "only the keys of this class")
	addReasonFlag(cmd)
	f.BoolVar(&r.compromised, "compromised", false, "others may know the keys")
	f.BoolVar(&r.asJSON, "json", false, "print the rotations as JSON")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "execute", "rollback", "status")
	cmd.MarkFlagsOneRequired("dry-run", "execute", "rollback", "status")
	for _, other := range []string{"dry-run", "rollback", "status"} {
		cmd.MarkFlagsMutuallyExclusive(other, "compromised")
	}
	for _, other := range []string{"dry-run", "status"} {
		cmd.MarkFlagsMutuallyExclusive(other, "reason")
	}
	for _, other := range []string{"rollback", "status"} {
		cmd.MarkFlagsMutuallyExclusive(other, "class")
	}
	return cmd
}

func (r *rotateFlags) run(cmd *cobra.Command) (err error) {
	order := rotation.Order{Compromised: r.compromised}
	if r.class != "" {
		if order.Class, err = classify.Parse(r.class); err != nil {
			return usageError(fmt.Errorf("--class: %w", err))
		}
	}
	o, err := openOperator(cmd)
	if err != nil {
		return err
	}
	order.Requester.Reason = o.reason
	defer func() { err = errors.Join(err, o.close()) }()
	store, err := o.cacheStore()
	if err != nil {
		return err
	}
	if store != nil {
		defer func() { err = errors.Join(err, store.Close()) }()
	}
	rotator := newRotator(o.config, o.keys, store, o.audit, nil)
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	tenants, unreadable := r.tenants(ctx, o)
	if len(tenants) == 0 && unreadable != nil {
		return unreadable
	}
	switch {
	case r.dry:
		return errors.Join(unreadable, r.preview(ctx, out, rotator, tenants, order.Class))
	case r.rollback:
		err = rollback(ctx, rotator, tenants, order.Requester)
	case r.execute:
		var begun []string
		begun, err = beginRotations(ctx, rotator, tenants, order)
		if store != nil || exists(cacheDir(o.config)) { // without a cache, nothing must be re-encrypted
			err = errors.Join(err, waitForReencryption(ctx, cmd.ErrOrStderr(), rotator, begun))
		}
	}
	return errors.Join(unreadable, err, r.print(context.WithoutCancel(ctx), out, rotator, tenants))
}

// tenants returns the selected tenants, and an error that names those that cannot be read.
func (r *rotateFlags) tenants(ctx context.Context, o *operator) (ids []string, failed error) {
	if r.tenant != "" {
		if _, err := o.keys.ring.Document(ctx, r.tenant); err != nil {
			return nil, fmt.Errorf("tenant %s: %w", strconv.Quote(r.tenant), err)
		}
		return []string{r.tenant}, nil
	}
	for d, err := range o.keys.ring.Documents(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			failed = errors.Join(failed, err)
		case !d.Shredded():
			ids = append(ids, d.Owner)
		}
	}
	slices.Sort(ids)
	return ids, failed
}

// preview prints the keysets that a rotation would change.
func (r *rotateFlags) preview(ctx context.Context, out io.Writer, rotator *rotation.Rotator, tenants []string, class classify.Class) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tUSE\tCLASS\tKEYS\tNEWEST")
	for _, id := range tenants {
		d, err := rotator.Keyring.Document(ctx, id)
		if err != nil {
			return err
		}
		for i := range d.Keysets {
			s := &d.Keysets[i]
			if s.Use == format.UseStorage || class != 0 && s.Class != class {
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", strconv.Quote(id), s.Use, s.Class, len(s.Keys), formatTime(time.UnixMilli(s.RotatedAt()), ""))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	sweep, err := rotator.CurrentSweep(ctx)
	if err == nil && sweep.Expected() > 0 {
		fmt.Fprintf(out, "a sweep visits all entries of the cache: %d at the last one\n", sweep.Expected())
	}
	return err
}

// rollback rolls back the rotations of tenants. It returns an error that names the rotated tenants that cannot be rolled back, and an error if
// no tenant was rotated.
func rollback(ctx context.Context, rotator *rotation.Rotator, tenants []string, by rotation.Requester) (failed error) {
	rolled := 0
	var never error
	for _, id := range tenants {
		record, err := rotator.Rollback(ctx, id, by)
		switch {
		case err == nil:
			rolled++
		case errors.Is(err, rotation.ErrNoRollback) && (record == nil || record.State == rotation.Idle):
			never = err
		default:
			failed = errors.Join(failed, tenantError(id, err))
		}
	}
	if rolled == 0 && failed == nil {
		return never
	}
	return failed
}
